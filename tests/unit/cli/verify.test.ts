import { createHash } from "node:crypto";
import { buffer } from "node:stream/consumers";
import { crc32 } from "node:zlib";
import { ApiException } from "@kubernetes/client-node";
import { describe, expect, test } from "vitest";
import { main } from "../../../cli/homecloud.ts";
import { CRITERIA } from "../../../cli/verify/criteria.ts";
import { type Criterion, needed, pass, sentence } from "../../../cli/verify/criterion.ts";
import { blobOf, imageOf, randomBlob } from "../../../cli/verify/image.ts";
import { isLeftover } from "../../../cli/verify/leftovers.ts";
import { measure, type Row } from "../../../cli/verify/measure.ts";
import { renderReport, reportForScripts } from "../../../cli/verify/report.ts";
import type { Run } from "../../../cli/verify/run.ts";
import { zipOf } from "../../../cli/verify/zip.ts";

describe("random bytes that are made as they are read", () => {
  const size = 3 * 2 ** 20 + 12_345;

  test("have the digest that was told, and are the same each time and from any position", async () => {
    const blob = await randomBlob(size);
    const whole = await buffer(blob.open());

    expect(whole).toHaveLength(size);
    expect(blob.digest).toBe(`sha256:${createHash("sha256").update(whole).digest("hex")}`);
    for (const start of [1, 16, 2 ** 20, 2 ** 20 + 7, size - 1]) {
      expect(whole.subarray(start).equals(await buffer(blob.open(start))), `from ${start}`).toBe(true);
    }
  });

  test("are others in each blob, so that no two images share a layer or a configuration", async () => {
    const [one, other] = [imageOf(await randomBlob(100)), imageOf(await randomBlob(100))];
    const digests = [one, other].flatMap(({ digest, blobs }) => [digest, ...blobs.map((blob) => blob.digest)]);

    expect(new Set(digests).size).toBe(6);
  });

  test("the manifest names what is pushed with it", () => {
    const { bytes, blobs } = imageOf(blobOf(Buffer.from("layer")));
    const { config, layers } = JSON.parse(bytes.toString());

    expect([config, ...layers].map(({ digest, size }) => ({ digest, size }))).toEqual(
      blobs.map(({ digest, size }) => ({ digest, size })),
    );
  });
});

describe("what counts as left by a run that was killed", () => {
  const now = new Date(1_800_000_000_000);

  test.each([
    ["homecloud-verify-1799990000-0badcafe", true],
    ["homecloud-verify-1799990000-0badcafe-sns-1", true],
    ["homecloud-verify-1799999000-0badcafe", false],
    ["homecloud-verify-mine", false],
    ["homecloud-verify", false],
    ["photos-homecloud-verify-1799990000-0badcafe", false],
  ])("%s: %s", (name, left) => expect(isLeftover(name, now)).toBe(left));
});

describe("a criterion", () => {
  const run = {} as Run;
  const never = new AbortController().signal;
  const criterion = (measure: Criterion["measure"], patience = 60): Criterion => ({
    ...{ id: "one", title: "One", limit: "1", patience, measure },
  });

  test("that throws has failed, with the reason", async () => {
    const throws = criterion(() => Promise.reject(new TypeError("fetch failed")));
    expect(await measure(run, throws, never)).toEqual({
      ...{ id: "one", title: "One", limit: "1", passed: false, measured: "fetch failed" },
    });
  });

  test("that never ends has failed, at its time", async () => {
    const hangs = criterion(() => new Promise(() => {}), 0.05);
    expect(await measure(run, hangs, never)).toMatchObject({ passed: false, measured: "no answer in 0.05 s" });
  });

  test("that needs what is broken says so", async () => {
    const needs = criterion(() => needed("the push", Promise.reject(new Error("denied"))));
    expect((await measure(run, needs, never)).measured).toBe("cannot be measured: the push failed: denied");
  });

  test("that is interrupted is no failure: nothing is said of it, and the next is not begun", async () => {
    const interrupted = new AbortController();
    let begun = 0;
    const hangs = criterion(() => {
      begun++;
      return new Promise(() => {});
    });
    const first = measure(run, hangs, interrupted.signal);
    interrupted.abort();
    await expect(first).rejects.toThrow();
    await expect(measure(run, hangs, interrupted.signal)).rejects.toThrow();
    expect(begun).toBe(1);
  });

  test("has an id of its own, and each is explained in docs/verify.md", async () => {
    const { readFile } = await import("node:fs/promises");
    const docs = await readFile(new URL("../../../docs/verify.md", import.meta.url), "utf8");
    const ids = [...CRITERIA.map(({ id }) => id), "clean"];

    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) expect(docs).toContain(`### ${id}\n`);
  });
});

describe("errors in one line", () => {
  test.each([
    [new Error("a\n  b"), "a b"],
    [Object.assign(new Error(""), { code: "ECONNREFUSED" }), "ECONNREFUSED"],
    [Object.assign(new Error("no such bucket"), { name: "NoSuchBucket" }), "NoSuchBucket: no such bucket"],
    [
      new ApiException(403, "", '{ "message": "pods is forbidden" }', {}),
      "the API server answered 403: pods is forbidden",
    ],
  ])("%s", (error, text) => expect(sentence(error)).toBe(text));
});

describe("the report", () => {
  const row = (id: string, outcome: Partial<Row>): Row => ({
    ...{ id, title: id, limit: "under 30 s", ...pass("500 MB in 2.1 s"), ...outcome },
  });
  const rows = [
    row("push", {}),
    row("page", { passed: undefined, measured: "not measured: there is no web page" }),
    row("pull", { passed: false, measured: "only 300 MB in 30 s", hint: "is the network slow?" }),
  ];

  test("for people: each beside its limit, then what to do about the failures", () => {
    expect(renderReport(rows).split("\n")).toEqual([
      "CRITERION  MEASURED                            LIMIT",
      "push       500 MB in 2.1 s                     under 30 s  pass",
      "page       not measured: there is no web page  under 30 s  -",
      "pull       only 300 MB in 30 s                 under 30 s  FAIL",
      "",
      "pull: is the network slow?",
    ]);
  });

  test("for scripts: what is not measured is neither", () => {
    const { passed, criteria } = reportForScripts(rows);
    expect(passed).toBe(false);
    expect(criteria.map((each) => each.passed)).toEqual([true, null, false]);
    expect(reportForScripts(rows.slice(0, 2)).passed).toBe(true);
  });
});

test("a zip archive whose sizes, checksum and offsets are right", () => {
  const [name, text] = ["index.js", "exports.handler = 1;\n"];
  const zip = zipOf(name, text);
  const end = zip.subarray(-22);
  const entry = zip.subarray(end.readUInt32LE(16));

  expect(zip.subarray(30, 30 + name.length + text.length).toString()).toBe(name + text);
  expect(entry.subarray(0, 4)).toEqual(Buffer.from("PK\x01\x02"));
  expect(entry.readUInt32LE(16)).toBe(crc32(text));
  expect([entry.readUInt32LE(20), entry.readUInt32LE(24)]).toEqual([text.length, text.length]);
  expect(entry.readUInt32LE(42), "where the file begins").toBe(0);
  expect(entry.readUInt32LE(38) >>> 16).toBe(0o100644);
  expect(end.readUInt32LE(12) + 22).toBe(entry.length);
});

test.each([[["verify", "--only", "everything"]], [["verify", "--skip"]], [["verify", "--loudly"]]])(
  "%j is wrong use",
  async (args) => expect(await main(args)).toBe(2),
);
