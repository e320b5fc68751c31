import { createReadStream, realpathSync } from "node:fs";
import { open, stat } from "node:fs/promises";
import { join, posix, sep } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { extract, type Header } from "tar-stream";
import { EXIT, UserError } from "../errors.ts";

/** Bytes that are read at a time: large enough that a layer is no slower than the disk. */
const READ_BYTES = 2 ** 20;

/** What may be read into memory whole: manifests and configurations. A larger one is none. */
const SMALL_BYTES = 16 * 2 ** 20;

/** What stands before each file in a tar archive. */
const HEADER_BYTES = 512;

/** The files of an archive or of a folder. */
export interface Files {
  /** What it is called in errors. */
  readonly name: string;
  /** Bytes of a file; undefined where there is none. */
  size(path: string): Promise<number | undefined>;
  /** A file's bytes from `start` on. */
  open(path: string, start?: number): Readable;
}

/** A small file whole; undefined where there is none. */
export async function readSmall(files: Files, path: string): Promise<Buffer | undefined> {
  const size = await files.size(path);
  if (size === undefined) return undefined;
  if (size > SMALL_BYTES) throw damaged(files, `${path} has ${size} bytes`);
  return await buffer(files.open(path));
}

/** A small file that is JSON; undefined where there is none. */
export async function readJson<T>(files: Files, path: string): Promise<T | undefined> {
  const bytes = await readSmall(files, path);
  return bytes && parseJson<T>(files, path, bytes);
}

/** `path` is what the bytes are called in errors. */
export function parseJson<T>(files: Files, path: string, bytes: Buffer): T {
  try {
    return JSON.parse(bytes.toString()) as T;
  } catch {
    throw damaged(files, `${path} is no JSON`);
  }
}

export const damaged = (files: Files, why: string): UserError =>
  new UserError(`${files.name} is no whole image: ${why}`, EXIT.failed);

/** Where a file of an archive lies in it. */
interface Place {
  start: number;
  size: number;
}

/** An uncompressed tar archive: read once for its contents' places, then from any of them. */
export class TarFiles implements Files {
  readonly name: string;
  private readonly file: string;
  private readonly places: Map<string, Place>;

  private constructor(name: string, file: string, places: Map<string, Place>) {
    this.name = name;
    this.file = file;
    this.places = places;
  }

  /** `name` is what a person calls it. Throws a UserError where the file is no whole tar archive. */
  static async read(file: string, name = file): Promise<TarFiles> {
    const places = new Map<string, Place>();
    const links = new Map<string, string>();
    const tar = extract();
    tar.on("entry", (header: Header, content, next) => {
      const path = posix.normalize(header.name);
      if (header.type === "file" || header.type === "contiguous-file") {
        places.set(path, { start: content.offset + HEADER_BYTES, size: header.size });
      } else if (header.type === "symlink") {
        links.set(path, posix.join(posix.dirname(path), header.linkname));
      } else if (header.type === "link") links.set(path, posix.normalize(header.linkname));
      content.on("end", next);
      // Of an archive that was cut: said by the whole below.
      content.on("error", () => {});
      content.resume();
    });
    await pipeline(createReadStream(file, { highWaterMark: READ_BYTES }), tar).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") throw new UserError(`there is no file ${name}`, EXIT.missing);
      if (error.code) throw new UserError(`${name} cannot be read: ${error.message}`);
      throw new UserError(`${name} is no whole tar archive: ${error.message}`);
    });
    // Older `docker save`s link a layer that two images share.
    for (const [path, target] of links) {
      const place = places.get(target);
      if (place) places.set(path, place);
    }
    return new TarFiles(name, file, places);
  }

  async size(path: string): Promise<number | undefined> {
    return this.places.get(posix.normalize(path))?.size;
  }

  open(path: string, start = 0): Readable {
    const place = this.places.get(posix.normalize(path));
    if (!place) throw damaged(this, `it has no ${path}`);
    if (start >= place.size) return Readable.from([]);
    const range = { start: place.start + start, end: place.start + place.size - 1, highWaterMark: READ_BYTES };
    return createReadStream(this.file, range);
  }
}

/** The files of a folder. Whoever made it says which: none outside, by `..` or a link, is one of them. */
export class FolderFiles implements Files {
  readonly name: string;
  private readonly folder: string;

  constructor(folder: string) {
    this.name = folder;
    this.folder = realpathSync(folder);
  }

  async size(path: string): Promise<number | undefined> {
    const file = this.inside(path);
    const found = file === undefined ? undefined : await stat(file);
    return found?.isFile() ? found.size : undefined;
  }

  open(path: string, start = 0): Readable {
    const file = this.inside(path);
    if (file === undefined) throw damaged(this, `it has no ${path}`);
    return createReadStream(file, { start, highWaterMark: READ_BYTES });
  }

  /** Where a file really is; undefined where there is none. Throws where that is outside. */
  private inside(path: string): string | undefined {
    const file = realPath(join(this.folder, path));
    const below = this.folder.endsWith(sep) ? this.folder : this.folder + sep;
    if (file !== undefined && !file.startsWith(below)) throw damaged(this, `${path} is not in the folder`);
    return file;
  }
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

/** How a file is compressed, by its first bytes; undefined where it is not. */
export async function compressionOf(file: string): Promise<Compression | undefined> {
  const handle = await open(file);
  try {
    const { buffer } = await handle.read(Buffer.alloc(6), 0, 6, 0);
    return compressionOfBytes(buffer);
  } finally {
    await handle.close();
  }
}

export type Compression = "gzip" | "zstd" | "xz" | "bzip2";

/** First bytes of compressed files, in hexadecimal. */
const MAGIC: Record<string, Compression> = {
  "1f8b": "gzip",
  "28b52ffd": "zstd",
  fd377a585a00: "xz",
  "425a68": "bzip2",
};

export function compressionOfBytes(bytes: Uint8Array): Compression | undefined {
  const begin = Buffer.from(bytes).toString("hex");
  return Object.entries(MAGIC).find(([magic]) => begin.startsWith(magic))?.[1];
}

/** Whether a folder holds an OCI layout. */
export async function isLayout(folder: string): Promise<boolean> {
  return await stat(join(folder, "oci-layout")).then(
    (found) => found.isFile(),
    () => false,
  );
}
