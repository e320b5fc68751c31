import { mkdir, rm, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { stringify } from "yaml";
import { ConfigError, loadSettings } from "../config/load.ts";
import { PROJECT } from "../config/project.ts";
import { GeneratedValues } from "./generated-values.ts";
import { type Manifest, render } from "./render.ts";
import { readStackFile } from "./stack-file.ts";

const USAGE = `Writes what a stack would deploy to rendered/STACK/, one file an object.

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
  const { manifests } = await render(loadSettings(raw), generated, { project: PROJECT, stack, secrets });
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
}

function fileName(index: number, { kind, metadata }: Manifest): string {
  const parts = [String(index).padStart(2, "0"), kind.toLowerCase(), metadata.namespace, metadata.name];
  return `${parts.filter(Boolean).join("-")}.yaml`;
}
