import { expect, test } from "vitest";
import { repeated } from "../full-run.ts";
import { describeTimings } from "../timings.ts";

test("a run's summary names every file, slowest first, and the 20 slowest tests", () => {
  const tests = Array.from({ length: 30 }, (_, number) => ({
    file: "a.test.ts",
    test: `number ${number}`,
    milliseconds: number * 1000,
  }));
  const files = [
    { file: "a.test.ts", project: "", worker: 1, start: 1000, end: 3500 },
    { file: "b.test.ts", project: "alone", worker: 1, start: 3500, end: 9500 },
  ];
  const lines = describeTimings({ wall: 10_000, files, tests }).split("\n");
  expect(lines.slice(0, 5)).toEqual([
    "Wall time of 2 files, 10.0 s in all:",
    "    6.0 s  b.test.ts (alone)",
    "    2.5 s  a.test.ts",
    "Slowest of 30 tests:",
    "   29.0 s  a.test.ts > number 29",
  ]);
  expect(lines.at(-1)).toBe("   10.0 s  a.test.ts > number 10");
});

test("what the default run leaves out of something repeated is told to the summary", () => {
  expect(repeated("rounds", { full: 20, byDefault: 4 })).toEqual({
    count: 4,
    options: { meta: { leftOut: { what: "rounds", count: 16 } } },
  });
});
