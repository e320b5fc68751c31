import { createHash, randomBytes } from "node:crypto";
import { open } from "node:fs/promises";
import type { Blob } from "./docker-client.ts";

/** 500 MB, as disks and downloads are counted. */
export const LARGE_LAYER_BYTES = 500_000_000;

const CHUNK = 1_000_000;

/** Writes a layer of random data, which nothing on the way can compress. */
export async function makeLargeLayer(file: string): Promise<Blob> {
  const hash = createHash("sha256");
  const handle = await open(file, "w");
  try {
    for (let written = 0; written < LARGE_LAYER_BYTES; written += CHUNK) {
      const chunk = randomBytes(CHUNK);
      hash.update(chunk);
      await handle.write(chunk);
    }
  } finally {
    await handle.close();
  }
  return { content: { file }, size: LARGE_LAYER_BYTES, digest: `sha256:${hash.digest("hex")}` };
}
