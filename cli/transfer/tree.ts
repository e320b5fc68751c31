import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import type { Descriptor } from "../registry/client.ts";

/** A blob that can be read as often as a push needs it. */
export interface Blob {
  digest: string;
  size: number;
  /** Its bytes from `start` on. */
  open(start?: number): Readable;
}

/** An image of one platform, or a list of images with all of them: what a push sends. */
export interface ImageTree {
  mediaType: string;
  /** The manifest as it stands: its digest is theirs. */
  bytes: Buffer;
  digest: string;
  /** Configuration and layers. */
  blobs: Blob[];
  /** Of a list: its images. */
  parts: ImageTree[];
}

/** What a manifest is made of. */
export interface ManifestFields {
  mediaType?: string;
  config?: Descriptor;
  layers?: Descriptor[];
  manifests?: Descriptor[];
}

export const sha256 = (content: Uint8Array): string => `sha256:${createHash("sha256").update(content).digest("hex")}`;

/** Whether this is a digest of the one kind that is known here: then it may be part of a path, too. */
export const isDigest = (text: unknown): text is string =>
  typeof text === "string" && /^sha256:[0-9a-f]{64}$/.test(text);

/** Every blob of an image and of its parts, each once. */
export function blobsOf(tree: ImageTree): Blob[] {
  const all = [...tree.blobs, ...tree.parts.flatMap(blobsOf)];
  return [...new Map(all.map((blob) => [blob.digest, blob])).values()];
}

/** `linux/arm64/v8`. */
export const platformName = ({ os, architecture, variant }: NonNullable<Descriptor["platform"]>): string =>
  [os, architecture, variant].filter(Boolean).join("/");
