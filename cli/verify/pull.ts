import { readBlob } from "../transfer/download.ts";
import { readManifest } from "../transfer/pull.ts";
import { type Criterion, fail, needed, pass, seconds } from "./criterion.ts";
import { fewRetries } from "./image.ts";
import { LARGE, LIMIT, megabytes, PATIENCE, TooSlow, timed } from "./large.ts";
import { SLOW } from "./push.ts";
import type { Run } from "./run.ts";

export const pull: Criterion = {
  id: "pull",
  title: `A pull of ${megabytes(LARGE)}, each byte as it was pushed`,
  limit: `under ${LIMIT} s`,
  patience: 2 * PATIENCE,
  measure: async (run) => {
    const { tag, digest } = await needed("the push", run.largeImage());
    try {
      const pulled = await pullImage(run, tag);
      if (pulled.digest !== digest) return fail(`the tag is ${pulled.digest}, and was pushed as ${digest}`);
      return pass(`${megabytes(LARGE)} in ${seconds(pulled.took)}`);
    } catch (error) {
      if (error instanceof TooSlow) return fail(error.message, SLOW);
      throw error;
    }
  },
};

/** Pulls an image and throws where its bytes are not what their digests stand for. Returns the manifest's digest. */
async function pullImage(run: Run, tag: string): Promise<{ digest: string; took: number }> {
  const registry = await run.newRegistry();
  const retries = fewRetries();
  return await timed(run, registry, async (at) => {
    const { digest, config, layers = [] } = await readManifest(registry, retries, run.repository, tag);
    for (const blob of [...(config ? [config] : []), ...layers]) {
      for await (const _ of readBlob(registry, retries, run.repository, blob, at));
    }
    return { digest };
  });
}
