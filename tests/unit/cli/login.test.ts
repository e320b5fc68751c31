import { chmod, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { hasPassword, setHelper, unsetHelper } from "../../../cli/login/cred-helpers.ts";
import { editJson } from "../../../cli/login/json-file.ts";
import { hostOf } from "../../../cli/login/logins.ts";

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "homecloud-login-"));
  file = join(folder, "config.json");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const HOST = "registry.homelab.local";
const add = (config: Record<string, unknown>) => {
  setHelper(config, HOST);
};
const remove = (config: Record<string, unknown>) => unsetHelper(config, HOST, undefined);

describe("Docker's config.json", () => {
  test.each([
    ["with tabs, as Docker writes it", `{\n\t"auths": {\n\t\t"x": {}\n\t},\n\t"currentContext": "default"\n}`],
    ["with four spaces and a last line break", `{\n    "b": 1,\n    "a": [\n        2\n    ]\n}\n`],
    ["on one line", `{"credsStore":"desktop"}`],
    ["with helpers of others", `{\n  "credHelpers": {\n    "z.example.com": "z"\n  }\n}\n`],
  ])("%s: comes back byte for byte", async (_, before) => {
    await writeFile(file, before);
    await editJson(file, add);
    expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({ credHelpers: { [HOST]: "homecloud" } });
    await editJson(file, remove);
    expect(await readFile(file, "utf8")).toBe(before);
  });

  test("keeps its permissions, and a link to it stays one", async () => {
    const real = join(folder, "dotfiles.json");
    await writeFile(real, "{}");
    await chmod(real, 0o644);
    await symlink(real, file);
    await editJson(file, add);
    expect((await stat(real)).mode & 0o777).toBe(0o644);
    expect(await readFile(real, "utf8")).toContain(HOST);
  });

  test("that is not there: made for its owner alone, with its folder; gone again when it is empty", async () => {
    const made = join(folder, "new", "config.json");
    await editJson(made, add);
    expect((await stat(made)).mode & 0o777).toBe(0o600);
    expect((await stat(join(folder, "new"))).mode & 0o777).toBe(0o700);
    await editJson(made, remove, { removeEmpty: true });
    await expect(stat(made)).rejects.toThrow("ENOENT");
  });

  test.each(["{ broken", "[]", '"text"', "null"])("that is %s: left alone", async (text) => {
    await writeFile(file, text);
    await expect(editJson(file, add)).rejects.toThrow(/is no JSON object: repair it/);
    expect(await readFile(file, "utf8")).toBe(text);
  });

  test("a change that fails leaves it as it was", async () => {
    await writeFile(file, "{}");
    const failing = editJson(file, () => {
      throw new Error("no");
    });
    await expect(failing).rejects.toThrow("no");
    expect(await readFile(file, "utf8")).toBe("{}");
  });

  test("a helper of before is put back; one that somebody has set since stays", () => {
    const config = { credHelpers: { [HOST]: "pass" } };
    const before = setHelper(config, HOST);
    expect(config.credHelpers[HOST]).toBe("homecloud");
    unsetHelper(config, HOST, before);
    expect(config).toEqual({ credHelpers: { [HOST]: "pass" } });
    unsetHelper(config, HOST, undefined);
    expect(config).toEqual({ credHelpers: { [HOST]: "pass" } });
  });

  test("passwords of before are seen", () => {
    expect(hasPassword({ auths: { [HOST]: { auth: "eDp5" } } }, HOST)).toBe(true);
    expect(hasPassword({ auths: { [HOST]: {}, other: { auth: "x" } } }, HOST)).toBe(false);
  });
});

test.each([
  ["https://registry.homelab.local/v2/", "registry.homelab.local"],
  ["registry.homelab.local:30500\n", "registry.homelab.local:30500"],
  ["http://localhost:5001", "localhost:5001"],
  ["", ""],
])("the host of %j", (server, host) => {
  expect(hostOf(server)).toBe(host);
});
