import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { debianRoot, libraryPath } from "../../lab/debian.ts";
import type { Tools } from "../../lab/lab.ts";
import { podTools, shellTools, testTools } from "../tools.ts";
import { RegistryClient } from "./client.ts";
import { ClusterStandIn, HOMECLOUD } from "./cluster-stand-in.ts";
import { Pod, WRITER } from "./pod.ts";

let shells: Tools;
let pod: Pod;
let cluster: ClusterStandIn;

beforeAll(async () => {
  shells = await shellTools();
  pod = await Pod.start(await podTools(await testTools()));
  cluster = await ClusterStandIn.start({ url: pod.url, host: pod.host, user: WRITER });
  const client = new RegistryClient(pod.url, WRITER);
  for (const [repository, tag] of [
    ["team/app", "1.0"],
    ["team/app", "1.1"],
    ["team/web", "latest"],
  ] as const)
    await client.pushImage(repository, tag);
  for (const shell of ["bash", "zsh", "fish"]) {
    const { stdout, exitCode } = await cluster.run(["completion", shell]);
    expect(exitCode).toBe(0);
    await writeFile(join(cluster.home, `script.${shell}`), stdout);
  }
  await writeFile(join(cluster.home, "archive.tar"), "");
});
afterAll(async () => {
  await cluster?.stop();
  await pod?.stop();
});

describe("bash", () => {
  /** What bash would put in the place of the word that it takes for the last one. */
  async function completed(line: string, env: Record<string, string> = {}): Promise<string[]> {
    const program = `source ~/script.bash
      complete -p homecloud >/dev/null || exit 3
      COMP_LINE=$1; COMP_POINT=\${#1}; _homecloud; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, exitCode, stderr } = await cluster.program("bash", ["--norc", "-c", program, "bash", line], {
      env,
    });
    expect(exitCode, stderr).toBe(0);
    return stdout.split("\n");
  }

  test("commands, options, and values that are known", async () => {
    expect(await completed("homecloud pu")).toEqual(["push", "pull"]);
    expect(await completed("homecloud pull --all")).toEqual(["--all-platforms"]);
    expect(await completed("homecloud --context ")).toEqual(["home"]);
    expect(await completed("homecloud completion ")).toEqual(["bash", "zsh", "fish"]);
  });

  test("repositories and tags, though bash ends words at colons", async () => {
    expect(await completed("homecloud ls te")).toEqual(["team/app", "team/web"]);
    expect(await completed("homecloud pull team/")).toEqual(["team/app", "team/web"]);
    expect(await completed("homecloud pull team/app:1")).toEqual(["1.0", "1.1"]);
  });

  test("nothing that was typed is run", async () => {
    await completed("homecloud ls $(touch ~/evil)");
    await completed("homecloud pull `touch ~/evil`");
    await expect(stat(join(cluster.home, "evil"))).rejects.toThrow("ENOENT");
  });

  test("a cluster that is away: nothing, silently and soon", async () => {
    const timeOf = async (work: () => Promise<void>) => {
      const begun = performance.now();
      await work();
      return performance.now() - begun;
    };
    const there = await timeOf(async () => expect(await completed("homecloud ls te")).not.toEqual([""]));
    const away = await timeOf(async () =>
      expect(await completed("homecloud ls te", { KUBECONFIG: "/nonexistent" })).toEqual([""]),
    );
    expect(away).toBeLessThan(2 * there);
  });
});

describe("fish", () => {
  async function completed(line: string): Promise<string[]> {
    const functions = `${debianRoot}/usr/share/fish/functions`;
    const program = `set -p fish_function_path ${functions}; source ~/script.fish; complete -C "$argv[1]"`;
    const args = ["--no-config", "-c", program, line];
    const { stdout, exitCode, stderr } = await cluster.program(shells.bin("fish"), args);
    expect(exitCode, stderr).toBe(0);
    return stdout.split("\n");
  }

  test("commands with what they do, repositories and tags, files for archives", async () => {
    expect(await completed("homecloud pul")).toEqual(["pull\tpull an image"]);
    expect(await completed("homecloud ls te")).toEqual(["team/app", "team/web"]);
    expect(await completed("homecloud pull team/app:")).toEqual(["team/app:1.0", "team/app:1.1"]);
    expect(await completed("homecloud push arch")).toEqual(["archive.tar"]);
    expect(await completed("homecloud pull x --output=")).not.toContain("team/app");
  });
});

describe("zsh", () => {
  /** Types into a real zsh, each line completed with the tab key; returns what stood on the line then. */
  async function completed(...lines: string[]): Promise<string[]> {
    const folder = join(cluster.home, "zsh");
    const functions = `${debianRoot}/usr/share/zsh/functions`;
    const modules = (await libraryPath()).split(":").map((path) => `${path}/zsh/5*(/N)`);
    await mkdir(folder, { recursive: true });
    await writeFile(
      join(folder, ".zshenv"),
      `module_path=(${modules.join(" ")} $module_path)
       fpath=(${functions} ${functions}/*(/N) ${functions}/*/*(/N) $fpath)`,
    );
    await writeFile(
      join(folder, ".zshrc"),
      `PS1=; setopt no_beep no_list_ambiguous; autoload -U compinit; compinit -u -D; source ~/script.zsh
       show() { print -r -- "LINE[$BUFFER]"; BUFFER= }; zle -N show; bindkey '^G' show; print -r -- "LINE[ready]"`,
    );
    // zpty is zsh's own terminal: what is typed into it is read key by key.
    const program = `source $ZDOTDIR/.zshenv; zmodload zsh/zpty || exit 3
      zpty z ${shells.bin("zsh")} -i
      read_line() { local out all=; repeat 300; do zpty -rt z out && all+=$out; [[ $all == *LINE\\[*\\]* ]] && break; sleep 0.1; done; print -r -- "\${\${all##*LINE\\[}%%\\]*}" }
      read_line
      for line in "$@"; do zpty -wn z "$line"$'\\t\\x07'; read_line; done
      zpty -d z`;
    await writeFile(join(folder, "type.zsh"), program);
    const env = { ZDOTDIR: folder, TERM: "dumb" };
    const { stdout, stderr } = await cluster.program(shells.bin("zsh"), ["-f", join(folder, "type.zsh"), ...lines], {
      env,
    });
    expect(stderr).toBe("");
    expect(stdout.split("\n")[0]).toBe("ready");
    return stdout.split("\n").slice(1);
  }

  test("commands, repositories and tags", async () => {
    expect(
      await completed(
        "homecloud pul",
        "homecloud ls team/w",
        "homecloud pull team/app:1.1",
        "homecloud inspect team/app:",
      ),
    ).toEqual([
      "homecloud pull ",
      "homecloud ls team/web ",
      "homecloud pull team/app:1.1 ",
      "homecloud inspect team/app:1.",
    ]);
  });
});

test("the scripts call this project's program, wherever it lies", async () => {
  const { stdout } = await execa("grep", ["-l", HOMECLOUD, join(cluster.home, "script.bash")]);
  expect(stdout).toContain("script.bash");
});
