import { UserError } from "../errors.ts";
import type { Descriptor } from "../registry/client.ts";
import { damaged, type Files, parseJson, readJson, readSmall } from "./files.ts";
import { type Blob, type ImageTree, isDigest, type ManifestFields, platformName, sha256 } from "./tree.ts";

/** index.json of an OCI layout. Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md */
export interface LayoutIndex {
  manifests?: Descriptor[];
}

/** A tag alone, as the specification wants it. */
export const REF_NAME = "org.opencontainers.image.ref.name";
/** A whole name, as Docker and containerd write it. */
export const IMAGE_NAME = "io.containerd.image.name";

/** Digests come from manifests of others: throws where one would be another path. */
export function blobPath(digest: string): string {
  if (!isDigest(digest)) throw new UserError(`${digest} is no digest that is known here`);
  return `blobs/${digest.replace(":", "/")}`;
}

/** Whether these files are an OCI layout. */
export async function layoutIndex(files: Files): Promise<LayoutIndex | undefined> {
  return (await files.size("oci-layout")) === undefined ? undefined : await readJson<LayoutIndex>(files, "index.json");
}

/** What a person may call one of a layout's images by. */
export function nameOf({ annotations = {} }: Descriptor): string | undefined {
  return annotations[IMAGE_NAME] ?? annotations[REF_NAME];
}

/**
 * An image of a layout with all its parts, byte for byte. Of a list whose images are not all there (`docker save` writes
 * only the platforms that were pulled) what is there: `tell` says so.
 */
export async function readLayoutImage(
  files: Files,
  descriptor: Descriptor,
  tell: (text: string) => void,
): Promise<ImageTree> {
  const tree = await readTree(files, descriptor);
  if (!tree) throw damaged(files, `it has no manifest ${descriptor.digest}`);
  const { manifests = [] } = fieldsOf(files, tree.bytes);
  if (tree.parts.length === manifests.length) return tree;
  return withoutMissing(files, tree, manifests, tell);
}

async function readTree(files: Files, { digest, mediaType }: Descriptor): Promise<ImageTree | undefined> {
  const bytes = await readSmall(files, pathOf(files, digest));
  if (!bytes) return undefined;
  if (sha256(bytes) !== digest) throw damaged(files, `the manifest ${digest} has another content`);
  const fields = fieldsOf(files, bytes);
  const blobs = await Promise.all([fields.config, ...(fields.layers ?? [])].map((blob) => readBlob(files, blob)));
  const parts = await Promise.all((fields.manifests ?? []).map((part) => readTree(files, part)));
  return {
    mediaType: fields.mediaType ?? mediaType,
    bytes,
    digest,
    blobs: blobs.filter((blob) => blob !== undefined),
    parts: parts.filter((part) => part !== undefined),
  };
}

async function readBlob(files: Files, blob: (Descriptor & { urls?: string[] }) | undefined): Promise<Blob | undefined> {
  if (!blob) return undefined;
  const { digest, size, urls = [] } = blob;
  const path = pathOf(files, digest);
  const found = await files.size(path);
  // Windows' base layers may not be handed on: clients get them from where the manifest says.
  if (found === undefined && urls.length > 0) return undefined;
  if (found !== size) throw damaged(files, `the blob ${digest} has ${found ?? "no"} bytes, not ${size}`);
  return { digest, size, open: (start) => files.open(path, start) };
}

function withoutMissing(
  files: Files,
  tree: ImageTree,
  manifests: Descriptor[],
  tell: (text: string) => void,
): ImageTree {
  const there = manifests.filter(({ digest }) => tree.parts.some((part) => part.digest === digest));
  const images = there.filter(({ platform }) => platform?.os !== "unknown");
  const names = images.map(({ platform }) => platformName(platform ?? {})).join(", ");
  const [only] = images;
  if (!only) throw damaged(files, "it has none of its images");
  tell(`${files.name} has only ${names} of ${manifests.length} images: pushing what is there`);
  const single = tree.parts.find(({ digest }) => digest === only.digest);
  if (images.length === 1 && single) return single;
  const rest = { ...(JSON.parse(tree.bytes.toString()) as object), manifests: there };
  const bytes = Buffer.from(JSON.stringify(rest));
  return { ...tree, bytes, digest: sha256(bytes) };
}

const fieldsOf = (files: Files, bytes: Buffer): ManifestFields => parseJson(files, "a manifest", bytes);

function pathOf(files: Files, digest: string): string {
  if (!isDigest(digest)) throw damaged(files, `${digest} is no digest that is known here`);
  return blobPath(digest);
}

/** Media types of layers that are stored as they are, by `docker save` since Docker 25. */
const PLAIN_LAYERS: readonly string[] = [
  "application/vnd.oci.image.layer.v1.tar",
  "application/vnd.docker.image.rootfs.diff.tar",
];

/** Whether an image's layers are all uncompressed. */
export async function hasPlainLayers(files: Files, { digest }: Descriptor): Promise<boolean> {
  const { layers = [] } = (await readJson<ManifestFields>(files, pathOf(files, digest))) ?? {};
  return layers.length > 0 && layers.every(({ mediaType }) => PLAIN_LAYERS.includes(mediaType));
}
