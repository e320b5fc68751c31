import { describe, expect, test } from "vitest";
import { summary } from "../../../cli/commands/gc.ts";
import { complaint, isAge, parseStep } from "../../../cli/gc/steps.ts";
import { buildProgram, main } from "../../../cli/homecloud.ts";

describe("the collector's lines", () => {
  test.each([
    ['{"step":"holding"}', { step: "holding" }],
    ['{"step":"waiting","writers":"unknown"}', { step: "waiting", writers: "unknown" }],
    ['{"step":"sweep","done":3,"of":7}', { step: "sweep", done: 3, of: 7 }],
    [
      '{"step":"done","freed":348160,"manifests":1,"blobs":3,"uploads":0,"used":389120,"seconds":1}',
      { step: "done", freed: 348160, manifests: 1, blobs: 3, uploads: 0, used: 389120, seconds: 1 },
    ],
  ])("%s", (line, step) => expect(parseStep(line)).toEqual(step));

  test.each([
    "",
    "collect-garbage: collecting",
    '{"step":"dancing"}',
    '{"step":"done"}',
    '{"step":"mark","done":-1,"of":2}',
    "[]",
  ])("%j is none of them", (line) => expect(parseStep(line)).toBeUndefined());

  test("what it complains of becomes one sentence", () => {
    expect(complaint("collect-garbage: failed to mark: x\ncollect-garbage: the collection did not end well\n\n")).toBe(
      "failed to mark: x; the collection did not end well",
    );
    expect(complaint("Terminated\ncollect-garbage: it was ended\n")).toBe("it was ended");
    expect(complaint("sh: can't open 'x'\n")).toBe("sh: can't open 'x'");
    expect(complaint("\n")).toBe("");
  });
});

describe("what it says in the end", () => {
  const figures = { freed: 354_418_688, manifests: 1, blobs: 3, uploads: 0, used: 1_048_576 };

  test("freed, and how long pushes waited", () => {
    expect(summary({ step: "done", ...figures, seconds: 5 })).toBe(
      "freed 338 MiB: 1 untagged manifest, 3 blobs, 0 abandoned uploads; 1 MiB are used; pushes waited 5 s",
    );
  });

  test("a dry run says that nothing was changed", () => {
    expect(summary({ step: "found", ...figures })).toBe(
      "would free 338 MiB of 1 MiB: 1 untagged manifest, 3 blobs, 0 abandoned uploads; nothing was changed",
    );
  });
});

describe("the command line", () => {
  test.each(["90m", "24h", "7d", "0m"])("%s is an age", (text) => expect(isAge(text)).toBe(true));
  test.each(["", "24", "1.5h", "-1h", "08h", "h", "1w", "1h ", "1000000d"])("%j is none", (text) =>
    expect(isAge(text)).toBe(false),
  );

  test.each([[["gc", "--older-than", "soon"]], [["gc", "--older-than"]], [["gc", "--delete-untagged"]]])(
    "%j is wrong use",
    async (args) => expect(await main(args)).toBe(2),
  );

  test("help has examples", () => {
    const gc = buildProgram().commands.find((command) => command.name() === "gc");
    let help = "";
    gc?.configureOutput({
      writeOut: (text) => {
        help += text;
      },
    });
    gc?.outputHelp();
    expect(help).toContain("homecloud gc --dry-run --untagged");
    expect(help).toContain("--older-than <age>");
  });
});
