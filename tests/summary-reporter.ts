import type { Reporter, TestModule } from "vitest/node";
import { SKIP_REASONS } from "./optional.ts";

/** Ends a run with the list of what was skipped and why, and one line of counts. A skip without a known reason fails it. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
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
    const count = (state: string) => tests.filter((test) => test.result().state === state).length;
    const broken = modules.filter((module) => module.errors().length > 0).length;
    console.log(`${count("passed")} passed, ${count("failed") + broken} failed, ${skipped.length} skipped`);
  }
}
