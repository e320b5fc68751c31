import { Listr, ListrLogger, type ListrTaskWrapper, ProcessOutput } from "listr2";
import type { Step } from "./steps.ts";

// biome-ignore lint/suspicious/noExplicitAny: listr2's own default for the types of renderers
type Task = ListrTaskWrapper<unknown, any, any>;

interface Stage {
  steps: Step["step"][];
  title: string;
  ended: PromiseWithResolvers<void>;
  task?: Task;
}

/** The stages of a collection, on the error stream: with spinners on a terminal, as lines elsewhere, not at all when quiet. */
export class CollectionProgress {
  private readonly stages: Stage[];
  private readonly shown: Promise<unknown>;

  constructor({ untagged, quiet }: { untagged: boolean; quiet: boolean }) {
    this.stages = [
      stage(["holding", "waiting"], "Hold writes, and wait for those under way"),
      ...(untagged ? [stage(["drained"], "Remove old manifests that no tag names")] : []),
      stage(untagged ? ["mark"] : ["drained", "mark"], "Mark what is in use"),
      stage(["sweep"], "Remove the rest"),
    ];
    const tasks = this.stages.map((each) => ({
      title: each.title,
      task: (_: unknown, task: Task) => {
        each.task = task;
        return each.ended.promise;
      },
    }));
    const logger = new ListrLogger({ processOutput: new ProcessOutput(process.stderr, process.stderr) });
    const listr = new Listr(tasks, {
      renderer: quiet ? "silent" : process.stderr.isTTY ? "default" : "simple",
      rendererOptions: { logger, showErrorMessage: false, collapseErrors: false },
      // Ctrl-C is the command's: the collection has to be ended in the pod.
      registerSignalListeners: false,
    });
    this.shown = listr.run().catch(() => undefined);
  }

  /** The script has come to this step: the stages before it have ended. */
  advance(step: Step): void {
    const current = this.stages.findIndex(({ steps }) => steps.includes(step.step));
    for (const { ended } of this.stages.slice(0, current)) ended.resolve();
    const task = this.stages[current]?.task;
    // Elsewhere than on a terminal each is a line of its own: too many of those that count.
    const counts = step.step === "mark" || step.step === "sweep";
    const text = counts && !process.stderr.isTTY ? undefined : describe(step);
    if (task && text) task.output = text;
  }

  /** The collection has ended. Returns when the last of it is on the screen; why it failed is for the caller to say. */
  async end({ failed }: { failed: boolean }): Promise<void> {
    for (const { ended } of this.stages) {
      // A stage that nobody waits for yet must not end the process.
      ended.promise.catch(() => undefined);
      if (failed) ended.reject(new Error("see below"));
      else ended.resolve();
    }
    await this.shown;
  }
}

const stage = (steps: Step["step"][], title: string): Stage => ({
  ...{ steps, title },
  ended: Promise.withResolvers<void>(),
});

function describe(step: Step): string | undefined {
  if (step.step === "holding") return "closing the gate to new ones";
  if (step.step === "waiting") return `${step.writers} under way`;
  if (step.step === "mark" || step.step === "sweep") return `${step.done} of ${step.of} blobs`;
  return undefined;
}
