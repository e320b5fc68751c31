import { once } from "node:events";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Pack, pack } from "tar-stream";
import { UserError } from "../errors.ts";
import type { Descriptor, Manifest, RegistryClient } from "../registry/client.ts";
import { type Bars, shortDigest } from "./bars.ts";
import { readBlob } from "./download.ts";
import { blobPath, IMAGE_NAME, REF_NAME } from "./oci-layout.ts";
import type { Retries } from "./retries.ts";
import { sha256 } from "./tree.ts";

/** An image of the registry's with all that a pull of it brings, manifests read. */
export interface RemoteImage {
  repository: string;
  manifest: Manifest;
  /** Of a list: its images. */
  parts: RemoteImage[];
}

/** Reads a manifest, and those of its parts. What came is what was asked for, or it throws. */
export async function readRemote(
  registry: RegistryClient,
  retries: Retries,
  repository: string,
  reference: string,
): Promise<RemoteImage> {
  const manifest = await readManifest(registry, retries, repository, reference);
  const parts: RemoteImage[] = [];
  for (const { digest } of manifest.manifests ?? []) {
    parts.push(await readRemote(registry, retries, repository, digest));
  }
  return { repository, manifest, parts };
}

export async function readManifest(
  registry: RegistryClient,
  retries: Retries,
  repository: string,
  reference: string,
): Promise<Manifest> {
  const manifest = await retries.run(() => registry.manifest(repository, reference));
  const digest = sha256(manifest.bytes);
  if (manifest.digest !== digest || (reference.startsWith("sha256:") && reference !== digest)) {
    throw new UserError(`${repository}: the manifest ${reference} came back as ${digest}, which it is not`);
  }
  return manifest;
}

export interface ArchiveOptions {
  retries: Retries;
  bars: Bars;
  /** What the image is called, host and tag among it; undefined where it was asked for by digest. */
  name: string | undefined;
  tag: string | undefined;
}

/**
 * Writes an image as an OCI archive, as it comes from the registry. One of a single platform can be read as Docker's own
 * form too: `docker load` of older Dockers knows no other.
 */
export async function writeArchive(
  registry: RegistryClient,
  image: RemoteImage,
  target: NodeJS.WritableStream,
  options: ArchiveOptions,
): Promise<number> {
  const archive = pack();
  const fill = async () => {
    const bytes = await addAll(registry, archive, image, options);
    archive.finalize();
    return bytes;
  };
  const filled = fill().catch((error: Error) => {
    archive.destroy(error);
    throw error;
  });
  const [bytes] = await Promise.all([filled, pipeline(archive as unknown as Readable, target)]);
  return bytes;
}

async function addAll(
  registry: RegistryClient,
  archive: Pack,
  image: RemoteImage,
  { retries, bars, name, tag }: ArchiveOptions,
): Promise<number> {
  const { repository, manifest } = image;
  await addFile(archive, "oci-layout", JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  let received = 0;
  for (const blob of blobsOf(image)) {
    const bar = bars.start(shortDigest(blob.digest), blob.size);
    await addStream(archive, blob, readBlob(registry, retries, repository, blob, bar.at));
    bar.end("pulled");
    received += blob.size;
  }
  for (const each of manifestsOf(image)) await addFile(archive, blobPath(each.digest), each.bytes);
  const annotations = { ...(name ? { [IMAGE_NAME]: name } : {}), ...(tag ? { [REF_NAME]: tag } : {}) };
  const { mediaType, digest, bytes } = manifest;
  const entry = { mediaType, digest, size: bytes.length, annotations };
  await addFile(archive, "index.json", JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
  if (manifest.config) {
    const saved = {
      Config: blobPath(manifest.config.digest),
      RepoTags: name ? [name] : null,
      Layers: (manifest.layers ?? []).map((layer) => blobPath(layer.digest)),
    };
    await addFile(archive, "manifest.json", JSON.stringify([saved]));
  }
  return received;
}

function blobsOf({ manifest, parts }: RemoteImage): Descriptor[] {
  const all = [manifest.config, ...(manifest.layers ?? []), ...parts.flatMap(blobsOf)];
  return [...new Map(all.filter((blob) => blob !== undefined).map((blob) => [blob.digest, blob])).values()];
}

function manifestsOf({ manifest, parts }: RemoteImage): Manifest[] {
  const all = [...parts.flatMap(manifestsOf), manifest];
  return [...new Map(all.map((each) => [each.digest, each])).values()];
}

/** The archive of an image is the same whenever it is pulled. */
const ENTRY = { mtime: new Date(0), mode: 0o644 };

async function addFile(archive: Pack, name: string, content: string | Buffer): Promise<void> {
  await new Promise<void>((done, failed) => {
    archive.entry({ ...ENTRY, name }, content, (error) => (error ? failed(error) : done()));
  });
}

async function addStream(archive: Pack, blob: Descriptor, content: AsyncIterable<Buffer>): Promise<void> {
  const written = Promise.withResolvers<void>();
  const header = { ...ENTRY, name: blobPath(blob.digest), size: blob.size };
  const sink = archive.entry(header, (error) => (error ? written.reject(error) : written.resolve()));
  // An archive whose target is gone takes no more: waiting for it would be for ever.
  const closed = once(sink, "close").then(() => Promise.reject(new Error("the archive was closed")));
  closed.catch(() => {});
  written.promise.catch(() => {});
  for await (const chunk of content) {
    if (!sink.write(chunk)) await Promise.race([once(sink, "drain"), closed]);
  }
  sink.end(undefined);
  await written.promise;
}
