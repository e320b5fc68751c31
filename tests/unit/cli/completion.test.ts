import { Argument, Command, Option } from "commander";
import { describe, expect, test } from "vitest";
import { complete, type Names, rendered } from "../../../cli/completion/complete.ts";
import { completionScript, SHELLS } from "../../../cli/completion/scripts.ts";

const names: Names = {
  repositories: async () => ["base", "team/app", "team/web"],
  tags: async (repository) => (repository === "team/app" ? ["1.0", "1.1", "latest"] : ["2"]),
  contexts: async () => ["home", "work"],
};

const program = new Command("homecloud").option("--context <name>", "context").option("--json", "JSON");
program.command("pull").argument("<repo:tag>").option("-o, --output <file>", "archive").option("--quick", "soon");
program.command("rm").argument("<image...>", "REPO:TAG, any number of them");
program.command("ls").argument("[repo]");
program
  .command("push")
  .argument("<image>", "an image or a file")
  .addOption(new Option("--engine <e>").choices(["docker", "podman"]));
program.command("show").addArgument(new Argument("<what>").choices(["one", "two"]));
program.command("secret", { hidden: true });

const values = async (...words: string[]) =>
  (await complete(program, words, names)).candidates.map(({ value }) => value);

describe("what the word under the cursor may become", () => {
  test("a command; hidden ones are not told", async () => {
    expect(await values("")).toEqual(["pull", "rm", "ls", "push", "show", "help"]);
    expect(await values("pu")).toEqual(["pull", "push"]);
    expect(await values("--json", "l")).toEqual(["ls"]);
  });

  test("an option of the command, or one that every command has", async () => {
    expect(await values("pull", "--")).toEqual(["--output", "--quick", "--help", "--context", "--json"]);
    expect(await values("pull", "x", "--q")).toEqual(["--quick"]);
  });

  test("an option's value, whichever way it is written", async () => {
    expect(await values("--context", "")).toEqual(["home", "work"]);
    expect(await values("pull", "--context", "w")).toEqual(["work"]);
    expect(await values("pull", "--context=h")).toEqual(["--context=home"]);
    expect(await values("push", "--engine", "p")).toEqual(["podman"]);
    expect(await complete(program, ["pull", "-o", ""], names)).toEqual({ candidates: [], files: true, open: false });
  });

  test("the value of an option is no argument", async () => {
    expect(await values("pull", "-o", "x.tar", "base:")).toEqual(["base:2"]);
    expect(await values("--context", "home", "ls", "te")).toEqual(["team/app", "team/web"]);
  });

  test("a repository, with more to come where a tag belongs to it", async () => {
    expect(await complete(program, ["pull", "team"], names)).toMatchObject({ open: true, files: false });
    expect(await complete(program, ["ls", "team"], names)).toMatchObject({ open: false });
  });

  test("a tag, after the colon or as soon as one repository is left", async () => {
    expect(await values("pull", "team/app:1")).toEqual(["team/app:1.0", "team/app:1.1"]);
    expect(await values("pull", "team/a")).toEqual(["team/app:1.0", "team/app:1.1", "team/app:latest"]);
    expect(await values("rm", "base:2", "team/app:l")).toEqual(["team/app:latest"]);
  });

  test("a file where the help speaks of one, a choice, and nothing after the last argument", async () => {
    expect(await complete(program, ["push", "x"], names)).toMatchObject({ files: true });
    expect(await values("show", "t")).toEqual(["two"]);
    expect(await values("ls", "base", "")).toEqual([]);
  });
});

test("lines carry no line break of a description, and end with what else there is to know", () => {
  const candidates = [{ value: "pull", description: "pull\n an image" }];
  expect(rendered({ candidates, files: true, open: true })).toBe("pull\tpull an image\n:open\n:files");
});

test.each(SHELLS)("the script for %s quotes the program's path", (shell) => {
  expect(completionScript(shell, "/home/o'neil/my cloud/homecloud")).toContain(
    `'/home/o'\\''neil/my cloud/homecloud' complete -- `,
  );
});
