import { createReadStream, createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { EXIT, UserError } from "../errors.ts";
import type { Descriptor } from "../registry/client.ts";
import { type PackOptions, readSavedImage, savedImages } from "./docker-archive.ts";
import { compressionOf, damaged, type Files, FolderFiles, isLayout, TarFiles } from "./files.ts";
import { splitName } from "./names.ts";
import { hasPlainLayers, IMAGE_NAME, layoutIndex, nameOf, REF_NAME, readLayoutImage } from "./oci-layout.ts";
import type { ImageTree } from "./tree.ts";

/** An image to push, and what its archive calls it. */
export interface OpenedImage {
  tree: ImageTree;
  repository: string | undefined;
  tag: string | undefined;
}

export interface OpenOptions extends PackOptions {
  /** What a person calls it. Defaults to its path. */
  name?: string;
  /** Which image, where the archive holds several: by its name. */
  image?: string | undefined;
  tell: (text: string) => void;
}

/** Whether an argument means a file or folder on this machine, and not an image of Docker's or Podman's. */
export async function isArchive(argument: string): Promise<boolean> {
  const found = await stat(argument).catch(() => undefined);
  if (found) return found.isFile() || (await isLayout(argument)) || looksLikePath(argument);
  if (looksLikePath(argument)) throw new UserError(`there is no file ${argument}`, EXIT.missing);
  return false;
}

const looksLikePath = (argument: string) => /^[./~]|\.(tar|tgz|gz|zst)$/.test(argument);

/** Opens a docker-archive, an oci-archive (both gzip'd too) or the folder of an OCI layout. */
export async function openArchive(path: string, options: OpenOptions): Promise<OpenedImage> {
  const files = await openFiles(path, options.name ?? path, options.scratch);
  const index = await layoutIndex(files);
  const saved = await savedImages(files);
  if (saved && !(await isWorthKeeping(files, index?.manifests ?? []))) {
    const image = choose(files, saved, ({ RepoTags }) => RepoTags ?? [], options.image);
    const name = options.image && image.RepoTags?.includes(options.image) ? options.image : image.RepoTags?.[0];
    return { tree: await readSavedImage(files, image, options), ...parts(name) };
  }
  if (!index) throw damaged(files, "it has neither manifest.json (docker save) nor oci-layout and index.json");
  const descriptor = choose(files, index.manifests ?? [], namesOf, options.image);
  const tree = await readLayoutImage(files, descriptor, options.tell);
  return { tree, ...parts(saved?.[0]?.RepoTags?.[0] ?? nameOf(descriptor)) };
}

/** `docker save` writes both forms. Its OCI one is worth keeping as it is, but where the layers are plain: Docker compresses these too when it pushes. */
async function isWorthKeeping(files: Files, manifests: Descriptor[]): Promise<boolean> {
  if (manifests.length === 0) return false;
  const plain = await Promise.all(manifests.map((each) => hasPlainLayers(files, each)));
  return !plain.every(Boolean);
}

const namesOf = ({ annotations = {}, digest }: Descriptor): string[] =>
  [annotations[IMAGE_NAME], annotations[REF_NAME], digest].filter((name) => name !== undefined);

function choose<T>(files: Files, images: T[], names: (image: T) => string[], wanted: string | undefined): T {
  const found = wanted === undefined ? images : images.filter((image) => names(image).includes(wanted));
  const [image] = found;
  if (image && found.length === 1) return image;
  if (images.length === 0) throw damaged(files, "it names no image");
  const there = images.map((each) => names(each)[0] ?? "one without a name").join(", ");
  throw wanted === undefined
    ? new UserError(`${files.name} holds ${images.length} images: choose one with --image: ${there}`, EXIT.usage)
    : new UserError(`${files.name} holds no image ${wanted}; there are: ${there}`, EXIT.missing);
}

/** A name without a slash or colon is a tag alone in a layout, and a repository nowhere: no archive writes one without a tag. */
function parts(name: string | undefined): { repository: string | undefined; tag: string | undefined } {
  if (name === undefined) return { repository: undefined, tag: undefined };
  if (!/[/:]/.test(name)) return { repository: undefined, tag: name };
  return splitName(name);
}

async function openFiles(path: string, name: string, scratch: string): Promise<Files> {
  const found = await stat(path).catch(() => undefined);
  if (!found) throw new UserError(`there is no file ${path}`, EXIT.missing);
  if (found.isDirectory()) {
    if (await isLayout(path)) return new FolderFiles(path);
    throw new UserError(`the folder ${path} is no OCI layout: it has no file oci-layout`, EXIT.usage);
  }
  const compression = await compressionOf(path);
  if (!compression) return await TarFiles.read(path, name);
  const unpack = { gzip: createGunzip, zstd: createZstdDecompress, xz: undefined, bzip2: undefined }[compression];
  if (!unpack) throw new UserError(`${path} is compressed with ${compression}: unpack it first`, EXIT.usage);
  const plain = join(scratch, "archive.tar");
  await pipeline(createReadStream(path), unpack(), createWriteStream(plain)).catch((error: Error) => {
    throw new UserError(`${path} cannot be unpacked: ${error.message}`);
  });
  return await TarFiles.read(plain, name);
}
