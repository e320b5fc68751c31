import { RegistryError } from "../registry/client.ts";
import { readBlob } from "../transfer/download.ts";
import { type Criterion, fail, needed, notMeasured, pass, seconds } from "./criterion.ts";
import { fewRetries } from "./image.ts";
import { PATIENCE, restart } from "./restart.ts";
import type { Run } from "./run.ts";

export const registryRestart: Criterion = {
  id: "registry-restart",
  title: "Images outlive a restart of the registry's pod",
  limit: "the same image after it",
  patience: PATIENCE,
  measure: async (run) => {
    if (run.restarts !== true) return notMeasured(run.restarts);
    await needed("a push", run.smallImage());
    const { url, user, password, ca, namespace } = await run.registryAccess();
    const login = { user, password };
    const serves = async () => (await run.ask(new URL("/v2/", url), { ca, login })).status === 200;
    const away = await restart(run, { namespace, name: "registry" }, serves);
    const problem = await missing(run);
    if (problem) return fail(problem, "is the volume registry-data a PersistentVolumeClaim? docs/verify.md");
    return pass(`the same image; no answer for ${seconds(away)}`);
  },
};

/** What is wrong with the image now. */
async function missing(run: Run): Promise<string | undefined> {
  const { tag, digest, layer } = await run.smallImage();
  const registry = await run.registry();
  try {
    const manifest = await registry.manifest(run.repository, tag);
    if (manifest.digest !== digest) return `the tag is ${manifest.digest}, and was ${digest}`;
    for await (const _ of readBlob(registry, fewRetries(), run.repository, layer, () => {}));
    return undefined;
  } catch (error) {
    if (error instanceof RegistryError && error.status === 404) return "the image is gone";
    throw error;
  }
}
