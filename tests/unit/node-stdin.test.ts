import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { curlLogin, remoteCommand, renderStdin, shellQuote } from "../../components/node-trust/stdin.ts";

const HOSTILE = [
  "plain",
  "it's",
  "'; touch /tmp/owned; '",
  '$HOME `id` $(id) "quoted" \\',
  "two\nlines\n",
  " spaces ",
  "ünïcödé 🔑",
  "",
];

describe("what the node's shell reads", () => {
  test.each(HOSTILE)("%j arrives as it is", (text) => {
    const script = `value=${shellQuote(text)}\nprintf '%s' "$value"`;
    expect(execFileSync("sh", ["-s"], { input: script, encoding: "utf8" })).toBe(text);
  });

  test("no shell has a NUL", () => {
    expect(() => shellQuote("a\0b")).toThrow("NUL");
  });

  test("the call comes last, with nothing to read: half a script does nothing", () => {
    const text = renderStdin({ node: "k3s-1" } as Parameters<typeof renderStdin>[0]);
    expect(text.startsWith("node='k3s-1'\n")).toBe(true);
    expect(text.trimEnd().split("\n").slice(-2)).toEqual(['main "$@" </dev/null', "exit"]);
    const calls = text.split("\n").filter((line) => line.startsWith("main "));
    expect(calls).toHaveLength(1);
  });

  test("cut off anywhere, not one command is run", async () => {
    const folder = await mkdtemp(join(tmpdir(), "homecloud-stdin-"));
    const called = join(folder, "called");
    // All that the script's own commands begin with; `id` is the first of a run.
    for (const name of ["id", "mkdir", "rm", "mv", "ln", "cp", "cat", "head", "flock", "systemctl", "curl", "date"]) {
      await writeFile(join(folder, name), `#!/bin/sh\necho ${name} >>${called}\nexit 1\n`, { mode: 0o755 });
    }
    const variables = { file: join(folder, "registries.yaml"), header: "", body: "", node: "k3s-1" };
    const text = renderStdin(variables as unknown as Parameters<typeof renderStdin>[0]);
    const run = (input: string) =>
      spawnSync("/bin/sh", ["-s", "apply"], { input, env: { PATH: folder }, encoding: "utf8" });

    const call = text.indexOf('main "$@"');
    for (let length = 1; length < call; length += 41) {
      run(text.slice(0, length));
      expect(existsSync(called), `cut at ${length}`).toBe(false);
    }
    expect(run(text).status).toBe(1);
    expect(existsSync(called)).toBe(true);
    await rm(folder, { recursive: true });
  });
});

describe("the login as curl reads it", () => {
  test.each([
    ["plain", 'user = "puller-1:plain"'],
    ['quo"te', 'user = "puller-1:quo\\"te"'],
    ["back\\slash", 'user = "puller-1:back\\\\slash"'],
  ])("%s", (password, line) => {
    expect(curlLogin({ name: "puller-1", password })).toBe(line);
  });
});

describe("the command", () => {
  test("says nothing but what to do", () => {
    expect(remoteCommand("apply", "none")).toBe("sh -s apply");
    expect(remoteCommand("remove", "none")).toBe("sh -s remove");
  });

  test("becomes root without asking", () => {
    expect(remoteCommand("apply", "sudo")).toBe("sudo -n sh -s apply");
    expect(remoteCommand("apply", "doas")).toBe("doas -n sh -s apply");
  });
});
