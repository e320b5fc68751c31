import { stringify } from "yaml";
import { loadSettings } from "../../config/load.ts";
import { PROJECT } from "../../config/project.ts";
import { GeneratedValues } from "../../render/generated-values.ts";
import { type Manifest, render } from "../../render/render.ts";
import { readStackFile } from "../../render/stack-file.ts";
import { kubectl } from "../cluster/kubectl.ts";
import type { Lab } from "../lab.ts";
import { inState } from "../paths.ts";
import { type LocalOutputs, STACK } from "./deploy.ts";

/** Applies what the program renders, server-side, and waits until it runs. Generated values are kept beside the state. */
export async function deployRender(_: Lab): Promise<LocalOutputs> {
  const settings = loadSettings(await readStackFile(PROJECT, STACK));
  const generated = await GeneratedValues.open(inState("generated.json"));
  const { manifests, outputs } = await render(settings, generated, { project: PROJECT, stack: STACK, secrets: true });
  await generated.save();
  console.error(`Applying ${manifests.length} objects`);
  await apply(manifests);
  for (const { kind, metadata } of manifests) {
    if (kind === "Deployment") await rolledOut(metadata.name, metadata.namespace ?? "default");
  }
  return outputs as unknown as LocalOutputs;
}

async function apply(manifests: Manifest[]): Promise<void> {
  const input = manifests.map((manifest) => stringify(manifest)).join("---\n");
  // --prune would need a label of its own; what an older render made and this one does not is left to a fresh lab.
  await kubectl(["apply", "--server-side", "--force-conflicts", "--field-manager=homecloud", "-f", "-"], { input });
}

async function rolledOut(name: string, namespace: string): Promise<void> {
  await kubectl(["-n", namespace, "rollout", "status", `deployment/${name}`, "--timeout=180s"]);
}
