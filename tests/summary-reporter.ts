import { mkdir, writeFile } from "node:fs/promises";
import { dirname, relative } from "node:path";
import type { Reporter, TestCase, TestModule } from "vitest/node";
import type { LeftOut } from "./full-run.ts";
import { SKIP_REASONS } from "./optional.ts";
import { describeTimings, type FileTiming, type Timings } from "./timings.ts";

/**
 * Ends a run with where its time went (also as JSON, in the file that it is given), what was skipped and why, what was left
 * to the full run, and one line of counts. A skip without a known reason fails it.
 */
export default class SummaryReporter implements Reporter {
  private readonly timingsFile: string;
  private readonly files = new Map<string, FileTiming>();

  constructor({ timingsFile }: { timingsFile: string }) {
    this.timingsFile = timingsFile;
  }

  onTestModuleQueued(module: TestModule): void {
    const [file, project] = [relative(process.cwd(), module.moduleId), module.project.name];
    this.files.set(module.id, { file, project, worker: 0, start: performance.now(), end: performance.now() });
  }

  onTestModuleEnd(module: TestModule): void {
    const timing = this.files.get(module.id);
    if (timing) Object.assign(timing, { end: performance.now(), worker: module.diagnostic().concurrencyId });
  }

  async onTestRunEnd(modules: readonly TestModule[]): Promise<void> {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const timings = this.timings(tests);
    await mkdir(dirname(this.timingsFile), { recursive: true });
    await writeFile(this.timingsFile, JSON.stringify(timings, null, 1));
    console.log(describeTimings(timings));

    const skipped = reportSkips(tests);
    reportLeftOut(tests.flatMap((test) => test.meta().leftOut ?? []));
    const count = (state: string) => tests.filter((test) => test.result().state === state).length;
    const broken = modules.filter((module) => module.errors().length > 0).length;
    console.log(`${count("passed")} passed, ${count("failed") + broken} failed, ${skipped} skipped`);
  }

  private timings(tests: TestCase[]): Timings {
    return {
      // From the start of this process on.
      wall: performance.now(),
      files: [...this.files.values()],
      tests: tests.map((test) => ({
        file: relative(process.cwd(), test.module.moduleId),
        test: test.fullName,
        milliseconds: Math.round(test.diagnostic()?.duration ?? 0),
      })),
    };
  }
}

/** Returns how many there are. */
function reportSkips(tests: TestCase[]): number {
  const skipped = tests.flatMap((test) => {
    const result = test.result();
    return result.state === "skipped" ? [{ name: test.fullName, reason: result.note ?? "no reason given" }] : [];
  });
  if (skipped.length > 0)
    console.log(`Skipped:\n${skipped.map(({ name, reason }) => `  ${name}: ${reason}`).join("\n")}`);
  const unknown = skipped.filter(({ reason }) => !SKIP_REASONS.includes(reason));
  if (unknown.length > 0) {
    console.log(`${unknown.length} of these skips are not allowed: tests/optional.ts lists the reasons that are.`);
    process.exitCode = 1;
  }
  return skipped.length;
}

function reportLeftOut(leftOut: LeftOut[]): void {
  if (leftOut.length === 0) return;
  const total = leftOut.reduce((sum, { count }) => sum + count, 0);
  const parts = leftOut.map(({ count, what }) => `${count} ${what}`).join(", ");
  console.log(`Left out of this run: ${total} (${parts}). All of it: npm run e2e:full`);
}
