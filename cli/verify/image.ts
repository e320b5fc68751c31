import { createCipheriv, createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pack } from "tar-stream";
import { makeBars } from "../transfer/bars.ts";
import { pushImage } from "../transfer/push.ts";
import { Retries } from "../transfer/retries.ts";
import { type Blob, type ImageTree, sha256 } from "../transfer/tree.ts";
import { forgetImages } from "./forget.ts";
import type { Run } from "./run.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const CONFIG = "application/vnd.oci.image.config.v1+json";
const LAYER = "application/vnd.oci.image.layer.v1.tar";

const CHUNK = 2 ** 20;
/** Of AES: a counter for each. */
const BLOCK = 16;

/** Nothing helps a criterion that only passes at the fifth try. */
export const fewRetries = (): Retries => new Retries({ tries: 2, pause: 500, patience: 0 });

export interface PushedImage {
  tag: string;
  digest: string;
  /** Of its one layer. */
  layer: { digest: string; size: number };
}

/** Pushes an image of one small file. */
export async function pushSmall(run: Run): Promise<PushedImage> {
  const archive = pack();
  archive.entry({ name: "random" }, randomBytes(64 * 1024));
  archive.finalize();
  const content = await buffer(archive as unknown as Readable);
  return await pushTo(run, "small", blobOf(content));
}

/** Pushes an image of this layer into the run's repository, which goes again at the end. */
export async function pushTo(run: Run, tag: string, layer: Blob): Promise<PushedImage> {
  const registry = await run.registry();
  run.leaves(`repository ${run.repository}`, () => forgetImages(run));
  const tree = imageOf(layer);
  await pushImage(registry, tree, run.repository, tag, { retries: fewRetries(), bars: makeBars(true) });
  return { tag, digest: tree.digest, layer };
}

export const blobOf = (content: Buffer): Blob => ({
  digest: sha256(content),
  size: content.length,
  open: (start = 0) => Readable.from(inChunks(content.subarray(start)), { objectMode: false }),
});

function* inChunks(content: Buffer): Generator<Buffer> {
  for (let at = 0; at < content.length; at += CHUNK) yield content.subarray(at, at + CHUNK);
}

/** An image of one layer. Its digests are nobody else's as long as the layer's is not. */
export function imageOf(layer: Blob): ImageTree {
  const rootfs = { type: "layers", diff_ids: [layer.digest] };
  const config = blobOf(Buffer.from(JSON.stringify({ os: "linux", architecture: "amd64", config: {}, rootfs })));
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: CONFIG, digest: config.digest, size: config.size },
      layers: [{ mediaType: LAYER, digest: layer.digest, size: layer.size }],
    }),
  );
  return { mediaType: MANIFEST, bytes, digest: sha256(bytes), blobs: [config, layer], parts: [] };
}

/** So many bytes that nobody has seen before and nothing compresses: made as they are read, not kept. */
export async function randomBlob(size: number): Promise<Blob> {
  const key = randomBytes(32);
  const open = (start = 0) => Readable.from(keyStream(key, start, size), { objectMode: false });
  const hash = createHash("sha256");
  for await (const chunk of open()) hash.update(chunk as Buffer);
  return { digest: `sha256:${hash.digest("hex")}`, size, open };
}

/** The key stream of AES in counter mode, from any position. */
function* keyStream(key: Buffer, start: number, end: number): Generator<Buffer> {
  const counter = Buffer.alloc(BLOCK);
  counter.writeBigUInt64BE(BigInt(Math.floor(start / BLOCK)), BLOCK - 8);
  const cipher = createCipheriv("aes-256-ctr", key, counter);
  cipher.update(Buffer.alloc(start % BLOCK));
  const zeros = Buffer.alloc(CHUNK);
  for (let at = start; at < end; at += CHUNK) yield cipher.update(zeros.subarray(0, Math.min(CHUNK, end - at)));
}
