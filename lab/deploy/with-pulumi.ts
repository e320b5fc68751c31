import { copyFile, mkdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { parse, stringify } from "yaml";
import { randomPassword } from "../../render/generated-values.ts";
import { LabError } from "../error.ts";
import { readIfThere, writeIfChanged } from "../files.ts";
import type { Lab } from "../lab.ts";
import { inState } from "../paths.ts";
import { type LocalOutputs, STACK } from "./deploy.ts";

const root = resolve(import.meta.dirname, "../..");
const home = (...parts: string[]) => inState("pulumi", ...parts);

/** Version of the CLI that `npx` fetches where none is on PATH. */
const NPX_PULUMI = "pulumi@3.270.0";

/** How to run Pulumi here, or undefined where it cannot be had. */
export async function findPulumi(): Promise<string[] | undefined> {
  if ((await execa("pulumi", ["version"], { reject: false })).exitCode === 0) return ["pulumi"];
  console.error(`There is no pulumi on PATH; asking npm for ${NPX_PULUMI}`);
  const npx = ["npx", "--yes", NPX_PULUMI];
  const { exitCode } = await execa("npx", [...npx.slice(1), "version"], {
    reject: false,
    timeout: 120_000,
    stdin: "ignore",
  });
  if (exitCode === 0) return npx;
  console.error("The Pulumi CLI could not be downloaded: the program's render is applied instead.");
  return undefined;
}

/** `pulumi up` of the local stack; its state, its passphrase and its copy of the configuration are kept in the lab's state. */
export async function deployWithPulumi(lab: Lab, command: string[]): Promise<LocalOutputs> {
  const pulumi = await localPulumi(lab, command);
  await pulumi.run(["up", "--yes", "--skip-preview", "--config-file", home(`Pulumi.${STACK}.yaml`)], { show: true });
  const { stdout } = await pulumi.run(["stack", "output", "--json", "--show-secrets"]);
  return JSON.parse(stdout) as LocalOutputs;
}

/** Pulumi on the lab's own backend: nothing of the user's Pulumi is read or changed. */
export async function localPulumi(lab: Lab, command: string[]) {
  await mkdir(home("backend"), { recursive: true, mode: 0o700 });
  const passphrase = home("passphrase");
  if ((await readIfThere(passphrase)) === undefined) await writeIfChanged(passphrase, randomPassword(40), 0o600);
  const env = {
    ...lab.env,
    KUBECONFIG: lab.kubeconfig,
    // The language host takes node from PATH: the one that came with npm ci.
    PATH: `${join(root, "node_modules", ".bin")}:${lab.env.PATH}`,
    PULUMI_BACKEND_URL: `file://${home("backend")}`,
    PULUMI_CONFIG_PASSPHRASE_FILE: passphrase,
    PULUMI_SKIP_UPDATE_CHECK: "true",
  };
  const run = async (args: string[], { show = false, cwd = root } = {}) => {
    const [program = "pulumi", ...first] = command;
    const all = [...first, "--non-interactive", "--stack", STACK, ...args];
    const result = await execa(program, args[1] === "init" ? [...first, "--non-interactive", ...args] : all, {
      ...{ env, cwd, reject: false },
      stdout: show ? ["inherit", "pipe"] : "pipe",
      stderr: show ? ["inherit", "pipe"] : "pipe",
    });
    if (result.exitCode !== 0) throw new LabError(`pulumi ${args[0]} failed${show ? "" : `: ${result.stderr}`}`);
    return { stdout: result.stdout };
  };
  await ensureStack(run);
  return { run, env };
}

type Run = (args: string[], options?: { show?: boolean; cwd?: string }) => Promise<{ stdout: string }>;

/**
 * The stack, made in a folder of its own: `stack init` writes the salt of its secrets into the stack's file, and the one
 * in the repository is everybody's. The copy is the repository's file with that salt.
 */
async function ensureStack(run: Run): Promise<void> {
  const copy = home(`Pulumi.${STACK}.yaml`);
  const isThere = await stat(copy).then(
    () => true,
    () => false,
  );
  await copyFile(join(root, "Pulumi.yaml"), home("Pulumi.yaml"));
  if (!isThere) await run(["stack", "init", STACK], { cwd: home() });
  const { encryptionsalt } = parse(await readFile(copy, "utf8")) as { encryptionsalt: string };
  const settings = parse(await readFile(join(root, `Pulumi.${STACK}.yaml`), "utf8")) as Record<string, unknown>;
  await writeIfChanged(copy, stringify({ ...settings, encryptionsalt }), 0o600);
}
