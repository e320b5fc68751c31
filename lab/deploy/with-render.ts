import { stringify } from "yaml";
import { checkCluster } from "../../cluster/check.ts";
import { loadSettings, type RawConfig } from "../../config/load.ts";
import { PROJECT } from "../../config/project.ts";
import { GeneratedValues } from "../../render/generated-values.ts";
import { type Manifest, render } from "../../render/render.ts";
import { readStackFile } from "../../render/stack-file.ts";
import { kubectl } from "../cluster/kubectl.ts";
import type { Lab } from "../lab.ts";
import { inState } from "../paths.ts";
import { type LocalOutputs, STACK } from "./deploy.ts";

/** Applies what the program renders and waits until it runs. Generated values are kept beside the lab's state. */
export async function deployRender(lab: Lab): Promise<LocalOutputs> {
  return applyStack(lab, await readStackFile(PROJECT, STACK), inState("generated.json"));
}

/** The same for any configuration, with its generated values in this file. `wait: false` does not wait until it runs. */
export async function applyStack(
  lab: Lab,
  raw: RawConfig,
  generatedPath: string,
  { wait = true } = {},
): Promise<LocalOutputs> {
  const loaded = loadSettings(raw);
  const settings = { ...loaded, cluster: { kubeconfig: lab.kubeconfig, context: undefined } };
  const generated = await GeneratedValues.open(generatedPath);
  const found = await checkCluster(raw.stack, settings);
  const options = { project: PROJECT, stack: raw.stack, secrets: true, found };
  const { manifests, outputs } = await render(settings, generated, options);
  await generated.save();
  await apply(manifests, raw.stack);
  for (const { kind, metadata } of manifests) {
    if (wait && kind === "Deployment") await rolledOut(metadata.name, metadata.namespace ?? "default");
  }
  return outputs as unknown as LocalOutputs;
}

/** What an older render made and this one does not is left where it is: a fresh lab is two commands away. */
async function apply(manifests: Manifest[], stack: string): Promise<void> {
  const input = manifests.map((manifest) => stringify(manifest)).join("---\n");
  // A field manager a stack: what one applies in an object that they share is not taken for given up by the others.
  const manager = `--field-manager=homecloud-${stack}`;
  await kubectl(["apply", "--server-side", "--force-conflicts", manager, "-f", "-"], { input });
}

async function rolledOut(name: string, namespace: string): Promise<void> {
  await kubectl(["-n", namespace, "rollout", "status", `deployment/${name}`, "--timeout=600s"]);
}
