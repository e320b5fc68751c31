import { mkdir, rm, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { stringify } from "yaml";
import { ConfigError, loadSettings } from "../config/load.ts";
import { PROJECT } from "../config/project.ts";
import { GeneratedValues } from "./generated-values.ts";
import { type Manifest, type NodeRun, render } from "./render.ts";
import { readStackFile } from "./stack-file.ts";

const USAGE = `Writes what a stack would deploy to rendered/STACK/, one file an object; with --secrets also what its nodes
would be told over SSH.

  npm run render -- --stack NAME [--secrets]

  --stack NAME   the stack, as in Pulumi.NAME.yaml
  --secrets      write secrets too (generated ones are kept in .homecloud/)`;

const { values } = parseArgs({
  options: {
    stack: { type: "string" },
    secrets: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (values.help || !values.stack) {
  console.log(USAGE);
  process.exit(values.help ? 0 : 2);
}

try {
  await writeRendered(values.stack, values.secrets);
} catch (error) {
  if (!(error instanceof ConfigError) && !(error instanceof Error)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}

async function writeRendered(stack: string, secrets: boolean): Promise<void> {
  const raw = await readStackFile(PROJECT, stack);
  if (raw.undecrypted.length > 0) {
    console.error(`encrypted, so generated values stand in for them: ${raw.undecrypted.join(", ")}`);
  }
  const generated = await GeneratedValues.open(`.homecloud/render-${stack}.json`);
  const { manifests, nodes } = await render(loadSettings(raw), generated, { project: PROJECT, stack, secrets });
  await generated.save();
  const folder = `rendered/${stack}`;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const [index, manifest] of manifests.entries()) {
    await writeFile(`${folder}/${fileName(index, manifest)}`, stringify(manifest, { lineWidth: 0 }), { mode: 0o600 });
  }
  console.log(
    `${manifests.length} objects are in ${folder}/${secrets ? "" : " (secrets left out; --secrets writes them)"}`,
  );
  if (secrets && nodes.length > 0) await writeNodes(`${folder}/nodes`, nodes);
}

async function writeNodes(folder: string, nodes: NodeRun[]): Promise<void> {
  await mkdir(folder, { mode: 0o700 });
  console.log("The nodes are told, after everything else and one after the other, by:");
  for (const { name, target, port, command, stdin } of nodes) {
    await writeFile(`${folder}/${name}.sh`, stdin, { mode: 0o600 });
    console.log(`  ssh -p ${port} ${target} ${command} < ${folder}/${name}.sh`);
  }
}

function fileName(index: number, { kind, metadata }: Manifest): string {
  const parts = [String(index).padStart(2, "0"), kind.toLowerCase(), metadata.namespace, metadata.name];
  return `${parts.filter(Boolean).join("-")}.yaml`;
}
