import { chmod, chown, mkdir, mkdtemp, readdir, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { expect, test, vi } from "vitest";

// Node and some shells are started, on a machine that may be busy with other tests.
vi.setConfig({ testTimeout: 60_000 });

const root = resolve(import.meta.dirname, "../../..");
const homecloud = join(root, "cli/bin/homecloud");

/** The environment of a person whose cache is here, whatever that of the tests says. */
const personWith = (cache: Record<string, string>) => ({
  env: { PATH: process.env.PATH ?? "", ...cache },
  extendEnv: false,
});

/** Prints the packages of which files have been read once all commands are known. */
const LIST_PACKAGES = `
  import { registerHooks } from "node:module";
  const packages = new Set();
  registerHooks({
    resolve(specifier, context, next) {
      const found = next(specifier, context);
      packages.add(/node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(found.url)?.[1]);
      return found;
    },
  });
  const { buildProgram } = await import(${JSON.stringify(join(root, "cli/homecloud.ts"))});
  buildProgram();
  console.log([...packages].filter(Boolean).join(" "));
`;

test("help and completions wait for nothing that only some commands need: Pulumi's SDK alone takes a second", async () => {
  const { stdout } = await execa("node", ["--input-type=module", "--eval", LIST_PACKAGES]);

  expect(stdout.split(" ")).toContain("commander");
  expect(
    stdout.split(" ").filter((name) => /^(@pulumi|@kubernetes|@aws-sdk|@inquirer)\/|^(undici|execa)$/.test(name)),
  ).toEqual([]);
});

test("what Node compiles is kept in the person's own cache, where nobody else writes", async () => {
  const home = await mkdtemp(join(tmpdir(), "homecloud-home-"));
  await execa(homecloud, ["--help"], personWith({ HOME: home }));

  const kept = join(home, ".cache/homecloud/node");
  expect(await readdir(kept)).toHaveLength(1);
  expect((await stat(kept)).mode & 0o077).toBe(0);
});

test("a folder of somebody else's is not used: what is in it would run", async () => {
  const home = await mkdtemp(join(tmpdir(), "homecloud-home-"));
  const others = join(home, ".cache/homecloud/node");
  await mkdir(others, { recursive: true });
  await chown(others, 65534, 65534).catch(() => chmod(others, 0o500));
  await execa(homecloud, ["--help"], personWith({ HOME: home }));

  expect(await readdir(others)).toEqual([]);
});

test.each([{ HOME: "/dev/null" }, {}, { HOME: "" }, { XDG_CACHE_HOME: "here" }, { XDG_CACHE_HOME: "/proc/none" }])(
  "where nothing can be kept it starts all the same: %j",
  async (cache) => {
    const { stdout, stderr } = await execa(homecloud, ["--help"], personWith(cache));

    expect(stdout).toContain("Usage: homecloud");
    expect(stderr).toBe("");
  },
);

test("whoever reads what it prints may have enough of it before its end", async () => {
  const person = personWith({ XDG_CACHE_HOME: await mkdtemp(join(tmpdir(), "homecloud-cache-")) });
  const { stdout, stderr } = await execa(
    "bash",
    ["--norc", "-c", `'${homecloud}' --help | true; echo "\${PIPESTATUS[0]}"`],
    person,
  );
  expect({ stdout, stderr }).toEqual({ stdout: "0", stderr: "" });
});
