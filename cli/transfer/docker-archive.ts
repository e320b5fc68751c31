import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { z } from "zod";
import { UserError } from "../errors.ts";
import { compressionOfBytes, damaged, type Files, parseJson, readJson, readSmall } from "./files.ts";
import { gzipped } from "./gzip.ts";
import type { Packed } from "./known-blobs.ts";
import { type Blob, type ImageTree, isDigest, sha256 } from "./tree.ts";

/** manifest.json, as `docker save` writes it. */
const savedManifest = z.array(
  z.object({ Config: z.string(), RepoTags: z.array(z.string()).nullish(), Layers: z.array(z.string()) }),
);

/** One image of it. */
export type SavedImage = z.infer<typeof savedManifest>[number];

/** Source: https://distribution.github.io/distribution/spec/manifest-v2-2/ */
const MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG = "application/vnd.docker.container.image.v1+json";
const LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip";

export async function savedImages(files: Files): Promise<SavedImage[] | undefined> {
  const found = await readJson<unknown>(files, "manifest.json");
  if (found === undefined) return undefined;
  const { data } = savedManifest.safeParse(found);
  if (!data) throw damaged(files, "its manifest.json is not one of docker save");
  return data;
}

/** Told that a layer is compressed, by its plain digest: then how many bytes more were read. */
export type OnLayer = (diffId: string, size: number) => (bytes: number) => void;

export interface PackOptions {
  /** Folder for what was compressed. */
  scratch: string;
  onLayer: OnLayer;
  /** What a layer becomes, by its plain digest, where the registry has that: it is not compressed again. */
  alreadyThere?: (diffId: string) => Promise<Packed | undefined>;
  /** Told what a layer became. */
  onPacked?: (diffId: string, packed: Packed) => void;
}

/**
 * An image of a docker-archive, whose layers are plain: compressed into a folder, with the manifest that a push needs. The
 * same archive gives the same digests.
 */
export async function readSavedImage(files: Files, saved: SavedImage, options: PackOptions): Promise<ImageTree> {
  const { alreadyThere = async () => undefined, onPacked = () => {} } = options;
  const config = await readSmall(files, saved.Config);
  if (!config) throw damaged(files, `it has no ${saved.Config}`);
  const diffIds = diffIdsOf(files, saved.Config, config);
  if (diffIds.length !== saved.Layers.length) {
    throw damaged(files, `${saved.Layers.length} layers, where the configuration names ${diffIds.length}`);
  }
  const packed = new Map<string, Blob>();
  for (const [index, diffId] of diffIds.entries()) {
    if (packed.has(diffId)) continue;
    const there = await alreadyThere(diffId);
    const blob = there
      ? withoutContent(files, there)
      : await packLayer(files, saved.Layers[index] ?? "", diffId, options);
    packed.set(diffId, blob);
    onPacked(diffId, { digest: blob.digest, size: blob.size });
  }
  const layers = diffIds.map((diffId) => packed.get(diffId) as Blob);
  const configBlob: Blob = {
    digest: sha256(config),
    size: config.length,
    open: (start = 0) => Readable.from([config.subarray(start)]),
  };
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: CONFIG, size: configBlob.size, digest: configBlob.digest },
      layers: layers.map(({ size, digest }) => ({ mediaType: LAYER, size, digest })),
    }),
  );
  return { mediaType: MANIFEST, bytes, digest: sha256(bytes), blobs: [configBlob, ...layers], parts: [] };
}

/** What the layers unpack to, as the configuration says. */
function diffIdsOf(files: Files, path: string, config: Buffer): string[] {
  const fields = parseJson<{ rootfs?: { diff_ids?: unknown } } | null>(files, path, config);
  const diffIds = fields?.rootfs?.diff_ids ?? [];
  // They become names of files.
  if (!Array.isArray(diffIds) || !diffIds.every(isDigest)) {
    throw damaged(files, `${path} names a layer by what is no digest that is known here`);
  }
  return diffIds;
}

/** A layer as it is pushed: compressed, unless it is already. What it unpacks to is what the configuration says. */
async function packLayer(files: Files, path: string, diffId: string, { scratch, onLayer }: PackOptions): Promise<Blob> {
  const size = await files.size(path);
  if (size === undefined) throw damaged(files, `it has no ${path}`);
  const advance = onLayer(diffId, size);
  const plain = createHash("sha256");
  const packed = createHash("sha256");
  const file = join(scratch, diffId.replace(":", "-"));
  const target = createWriteStream(file, { flags: "wx" });
  if (await isGzip(files, path)) {
    const source = counted(files.open(path), advance, packed);
    const unpacked = pipeline(files.open(path), createGunzip(), async (bytes: AsyncIterable<Buffer>) => {
      for await (const chunk of bytes) plain.update(chunk);
    });
    await Promise.all([pipeline(source, target), unpacked]);
  } else {
    await pipeline(counted(gzipped(counted(files.open(path), advance, plain)), undefined, packed), target);
  }
  if (`sha256:${plain.digest("hex")}` !== diffId) throw damaged(files, `the layer ${path} is not ${diffId}`);
  return {
    digest: `sha256:${packed.digest("hex")}`,
    size: (await stat(file)).size,
    open: (start = 0) => createReadStream(file, { start, highWaterMark: 2 ** 20 }),
  };
}

/** A layer that the registry has. Only where it loses that in the same moment is it asked for. */
function withoutContent({ name }: Files, packed: Packed): Blob {
  const open = () => {
    throw new UserError(`the registry has just lost the layer ${packed.digest}: push ${name} again`);
  };
  return { ...packed, open };
}

async function isGzip(files: Files, path: string): Promise<boolean> {
  for await (const chunk of files.open(path)) return compressionOfBytes((chunk as Buffer).subarray(0, 6)) === "gzip";
  return false;
}

/** The same bytes, seen by a hash and counted. */
async function* counted(
  source: AsyncIterable<Buffer>,
  advance: ((bytes: number) => void) | undefined,
  hash: ReturnType<typeof createHash>,
): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    hash.update(chunk);
    yield chunk;
    advance?.(chunk.length);
  }
}
