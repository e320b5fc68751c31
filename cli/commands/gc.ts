import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import type { V1Pod } from "@kubernetes/client-node";
import { type Command, InvalidArgumentError } from "commander";
import { POD_LAYOUT } from "../../components/registry/layout.ts";
import { isReady, type Kube } from "../cluster/kube.ts";
import { type Context, withContext } from "../context.ts";
import { EXIT, UserError } from "../errors.ts";
import { CollectionProgress } from "../gc/progress.ts";
import { complaint, isAge, parseStep, type Result, type Step } from "../gc/steps.ts";
import { bytes } from "../units.ts";

interface GcOptions {
  dryRun?: boolean;
  untagged?: boolean;
  olderThan?: string;
  stop?: boolean;
}

const SCRIPT = ["sh", `${POD_LAYOUT.config}/collect-garbage.sh`];

export function addGc(program: Command): void {
  program
    .command("gc")
    .option("--dry-run", "only tell what would be freed; nobody waits for that")
    .option("--untagged", "also take manifests that no tag names, nor anything that stays")
    .option("--older-than <age>", "how long ago those were pushed: 90m, 24h, 7d (default: 24h)", age)
    .option("--stop", "end a collection that runs")
    .summary("free the space of deleted images")
    .description(
      "Frees the space of deleted images and abandoned uploads. Pushes get 503 while it runs, those under way may end " +
        "first, pulls go on. Ctrl-C ends it, as --stop does: what it has freed stays freed, every tag stays whole.",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  homecloud gc --dry-run --untagged\n  homecloud gc\n  homecloud gc --untagged --older-than 7d\n  homecloud gc --json | jq .freed",
    )
    .action(
      withContext<[], GcOptions>(async (context, options) => {
        if (options.olderThan && !options.untagged) {
          throw new UserError("--older-than is about what --untagged takes: add --untagged", EXIT.usage);
        }
        const { registry } = await context.deployment();
        const pod = await readyPod(context.kube, registry.namespace);
        if (options.stop) await stop(context, pod);
        else report(context, options, await collect(context, pod, options));
      }),
    );
}

function age(text: string): string {
  if (!isAge(text)) throw new InvalidArgumentError("An age is a whole number with m, h or d: 90m, 24h, 7d.");
  return text;
}

async function readyPod(kube: Kube, namespace: string): Promise<V1Pod> {
  const pod = await kube.podOf(namespace, "registry");
  if (!pod) {
    throw new UserError(
      `the registry in ${namespace} has no pod: is it scaled to 0? See homecloud status`,
      EXIT.unreachable,
    );
  }
  if (!isReady(pod)) {
    throw new UserError(
      `the registry's pod ${pod.metadata?.name} is not ready, and nothing was done: see homecloud status`,
      EXIT.unreachable,
    );
  }
  return pod;
}

async function collect(context: Context, pod: V1Pod, options: GcOptions): Promise<Result> {
  const { dryRun = false, untagged = false, olderThan } = options;
  const progress = new CollectionProgress({ untagged, quiet: context.json || dryRun });
  const stopped = dryRun ? { forget: () => undefined } : stopOnInterrupt(context, pod);
  const command = [
    ...[...SCRIPT, "--porcelain"],
    ...(dryRun ? ["--dry-run"] : []),
    ...(untagged ? ["--untagged"] : []),
    ...(olderThan ? ["--older-than", olderThan] : []),
  ];
  try {
    const result = await run(context, pod, command, (step) => progress.advance(step));
    await progress.end({ failed: false });
    return result;
  } catch (error) {
    await progress.end({ failed: true });
    throw error;
  } finally {
    stopped.forget();
  }
}

/** Runs the script and tells each of its steps. Returns its last one; throws a UserError with what it complained of. */
async function run(
  { kube, note }: Context,
  pod: V1Pod,
  command: string[],
  told: (step: Step) => void,
): Promise<Result> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  let result: Result | undefined;
  const complaints = text(stderr);
  const lines = createInterface(stdout).on("line", (line) => {
    const step = parseStep(line);
    if (!step) return;
    if (step.step === "done" || step.step === "found") result = step;
    else told(step);
  });
  const ended = new Promise((resolve) => lines.once("close", resolve));
  const code = await kube.exec(pod, "registry", command, { stdout, stderr }).catch((error) => {
    throw brokenOff(error);
  });
  stdout.end();
  stderr.end();
  await ended;
  const said = complaint(await complaints);
  if (code === KILLED) throw new UserError(KILLED_IN_THE_POD);
  if (code !== 0) throw new UserError(said || `the collection ended with ${code}`);
  if (!result) throw new UserError("the registry's pod has an older collector: run pulumi up once more");
  if (said) note(said);
  return result;
}

/** What a shell says of SIGKILL: 128 and its number. */
const KILLED = 137;
const KILLED_IN_THE_POD =
  "the collection was killed in the pod, by hand or for want of memory; what it has freed stays freed. A part of it may " +
  "still be at work: homecloud status shows whether pushes wait";

function brokenOff(error: unknown): unknown {
  if (!(error instanceof UserError) || !/broke off/.test(error.message)) return error;
  return new UserError(
    `${error.message}; a collection goes on in the pod and gives writes back when it has ended: homecloud status shows ` +
      "that, homecloud gc --stop ends it",
    EXIT.unreachable,
  );
}

/** Ctrl-C ends the collection in the pod, which then ends this command; a second one leaves at once. */
function stopOnInterrupt(context: Context, pod: V1Pod): { forget(): void } {
  let asked = false;
  const interrupted = () => {
    if (asked) {
      console.error("homecloud: the collection may still be running in the pod: homecloud gc --stop ends it");
      process.exit(EXIT.failed);
    }
    asked = true;
    context.note("ending the collection: writes are back in a few seconds (Ctrl-C again leaves it to itself)");
    context.kube
      .run(pod, "registry", [...SCRIPT, "--stop"])
      .catch((error: Error) => console.error(`homecloud: ${error.message}`));
  };
  const signals = ["SIGINT", "SIGTERM"] as const;
  for (const signal of signals) process.on(signal, interrupted);
  return {
    forget: () => {
      for (const signal of signals) process.off(signal, interrupted);
    },
  };
}

async function stop(context: Context, pod: V1Pod): Promise<void> {
  const said = complaint(await context.kube.run(pod, "registry", [...SCRIPT, "--stop"]));
  context.print({ said }, said);
}

function report(context: Context, { dryRun = false, untagged = false, olderThan }: GcOptions, result: Result): void {
  const { step: _, ...figures } = result;
  const age = untagged ? (olderThan ?? "24h") : undefined;
  context.print({ dryRun, ...(age ? { untaggedOlderThan: age } : {}), ...figures }, summary(result));
}

/** What was freed, or would be, as a sentence. */
export function summary(result: Result): string {
  const { freed, manifests, blobs, uploads, used } = result;
  const parts = [
    plural(manifests, "untagged manifest"),
    plural(blobs, "blob"),
    plural(uploads, "abandoned upload"),
  ].join(", ");
  if (result.step === "found") {
    return `would free ${bytes(freed)} of ${bytes(used)}: ${parts}; nothing was changed`;
  }
  return `freed ${bytes(freed)}: ${parts}; ${bytes(used)} are used; pushes waited ${result.seconds} s`;
}

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;
