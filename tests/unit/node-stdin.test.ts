import { execFileSync } from "node:child_process";
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

  test("every way of cutting it off is refused or does nothing", () => {
    const text = renderStdin({ node: "k3s-1" } as Parameters<typeof renderStdin>[0]);
    const script = text.slice(0, text.indexOf('main "$@"'));
    for (let length = 0; length < script.length; length += 97) {
      // `file` is not set: whatever ran would end with an error that names it, and nothing is printed.
      const cut = `file=/nowhere/file header= body=\n${script.slice(0, length)}`;
      const { stdout } = run(cut);
      expect(stdout).toBe("");
    }
  });
});

function run(input: string): { stdout: string } {
  try {
    return {
      stdout: execFileSync("sh", ["-s", "apply"], { input, encoding: "utf8", stdio: ["pipe", "pipe", "ignore"] }),
    };
  } catch (error) {
    return { stdout: String((error as { stdout: string }).stdout) };
  }
}

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
