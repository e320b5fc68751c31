import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { GeneratedValues, randomPassword } from "../../render/generated-values.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "homecloud-unit-"));
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

test("a value is made once and kept from run to run", async () => {
  const path = join(folder, "new", "values.json");
  const first = await GeneratedValues.open(path);
  await first.keep("password", () => ({ result: "one" }));
  await first.save();

  const second = await GeneratedValues.open(path);
  expect(await second.keep("password", () => ({ result: "other" }))).toEqual({ result: "one" });
});

test("a value that is no longer good is made anew", async () => {
  const values = await GeneratedValues.open(join(folder, "values.json"));
  await values.keep("certificate", () => ({ until: 1 }));

  expect(
    await values.keep(
      "certificate",
      () => ({ until: 2 }),
      ({ until }) => until > 1,
    ),
  ).toEqual({ until: 2 });
  expect(
    await values.keep(
      "certificate",
      () => ({ until: 3 }),
      ({ until }) => until > 1,
    ),
  ).toEqual({ until: 2 });
});

test("only their owner reads them", async () => {
  const path = join(folder, "values.json");
  const values = await GeneratedValues.open(path);
  await values.save();
  await values.save();

  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test("a password has the length that was asked for, letters and digits only, and never comes twice", () => {
  const passwords = Array.from({ length: 100 }, () => randomPassword(32));

  for (const password of passwords) expect(password).toMatch(/^[A-Za-z0-9]{32}$/);
  expect(new Set(passwords).size).toBe(100);
});
