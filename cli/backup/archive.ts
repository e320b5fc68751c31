import { createHash, type Hash } from "node:crypto";
import type { Readable, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { type Extract, extract, type Header, type Pack, pack } from "tar-stream";
import { UserError } from "../errors.ts";
import {
  blobDigest,
  CONTENTS,
  type Contents,
  NoBackup,
  type PartName,
  parseContents,
  placeOf,
  SUMS,
  sumLine,
} from "./format.ts";

type Entry = Extract extends AsyncIterable<infer E> ? E : never;
type Sink = ReturnType<Pack["entry"]>;

/** What of a header is kept: names of users mean nothing elsewhere, and what another tar added belongs to that. */
type KeptHeader = Pick<Header, "name" | "mode" | "uid" | "gid" | "size" | "mtime" | "type" | "linkname">;

/** Told of bytes that have passed. */
export type OnBytes = (count: number) => void;

/** What may be read into memory whole. */
const SMALL_BYTES = 2 ** 20;

/** Hashes files as they pass: SHA256SUMS, and the registry's blobs against their names. Holds a line a file, and no content. */
class Sums {
  readonly lines: string[] = [];
  /** Digests of blobs that are not what their names say. */
  readonly broken: string[] = [];

  add(name: string, hash: Hash): void {
    const sha256 = hash.digest("hex");
    this.lines.push(sumLine(sha256, name));
    const promised = blobDigest(name);
    if (promised && promised !== sha256) this.broken.push(`sha256:${promised}`);
  }
}

/** Writes a backup. Nothing is held in memory: whoever takes it slowly is waited for, up to the disk that it comes from. */
export class ArchiveWriter {
  private readonly tar = pack();
  private readonly sums = new Sums();
  private readonly output: Promise<void>;
  private failure: Error | undefined;

  constructor(output: Writable, signal: AbortSignal) {
    this.output = pipeline(this.tar as unknown as Readable, output, { signal });
    // Awaited at the end; until then whatever is being written fails by it.
    this.output.catch((error: Error) => {
      this.failure = error;
      this.tar.destroy(error);
    });
  }

  get broken(): string[] {
    return this.sums.broken;
  }

  async contents(contents: Contents): Promise<void> {
    await this.file(CONTENTS, `${JSON.stringify(contents, null, 2)}\n`, new Date(contents.time));
  }

  /** Adds each entry of a tar below the part's folder. Several tars behind each other count as one. */
  async add(part: PartName, source: Readable, onBytes: OnBytes = () => {}): Promise<void> {
    try {
      await this.addEach(part, source, onBytes);
    } catch (error) {
      // A tar that cannot be written to any more knows not why.
      throw this.failure ?? error;
    }
  }

  private async addEach(part: PartName, source: Readable, onBytes: OnBytes): Promise<void> {
    const read = extract();
    const reading = pipeline(source, read);
    // Told by the loop, which ends by the same error.
    reading.catch(() => undefined);
    for await (const entry of read) {
      const name = `${part}/${entry.header.name}`;
      const { linkname } = entry.header;
      const moved = entry.header.type === "link" ? { linkname: `${part}/${linkname}` } : {};
      const hash = createHash("sha256");
      await pass(entry, this.tar, { ...plain(entry.header), ...moved, name }, (bytes) => {
        hash.update(bytes);
        onBytes(bytes.length);
      });
      if (isFile(entry.header)) this.sums.add(name, hash);
    }
    await reading;
  }

  /** The sums and the end. Returns once the last byte has been taken. */
  async finish(time: Date): Promise<void> {
    await this.file(SUMS, this.sums.lines.join(""), time, false);
    this.tar.finalize();
    await this.output;
  }

  /** Ends what is written to, in the middle of a file: nobody can take it for whole. */
  async abort(error: Error): Promise<void> {
    this.tar.destroy(error);
    await this.output.catch(() => undefined);
  }

  private async file(name: string, content: string, mtime: Date, summed = true): Promise<void> {
    await new Promise<void>((resolve, reject) =>
      this.tar.entry({ name, mtime }, content, (error) => (error ? reject(error) : resolve())),
    );
    if (summed) this.sums.add(name, createHash("sha256").update(content));
  }
}

/** A file of a backup that is being read. */
export interface BackupEntry {
  part: PartName;
  /** What it is called in the part's volume. */
  header: KeptHeader;
  /** Hands it on to another tar, or to nobody. */
  into(target: Pack | undefined): Promise<void>;
}

/** Reads a backup, once and from the front, and checks it while it passes. Throws NoBackup with what is wrong with it. */
export class ArchiveReader {
  readonly contents: Contents;
  private readonly sums: Sums;
  private readonly rest: AsyncIterator<Entry>;
  private readonly onBytes: OnBytes;

  private constructor(contents: Contents, sums: Sums, rest: AsyncIterator<Entry>, onBytes: OnBytes) {
    this.contents = contents;
    this.sums = sums;
    this.rest = rest;
    this.onBytes = onBytes;
  }

  static async open(source: Readable, signal: AbortSignal, onBytes: OnBytes = () => {}): Promise<ArchiveReader> {
    const read = extract();
    pipeline(source, read, { signal }).catch(() => undefined);
    const rest = read[Symbol.asyncIterator]();
    const first = await nextOf(rest, `is no backup of homecloud's`);
    if (first?.header.name !== CONTENTS || (first.header.size ?? 0) > SMALL_BYTES) {
      throw new NoBackup(`is no backup of homecloud's: it does not begin with ${CONTENTS}`);
    }
    const content = await text(first as unknown as Readable).catch((error) => {
      throw streamError(error, "is not whole");
    });
    const sums = new Sums();
    sums.add(CONTENTS, createHash("sha256").update(content));
    return new ArchiveReader(parseContents(content), sums, rest, onBytes);
  }

  /** Blobs that were broken when the backup was made: what they hold is what SHA256SUMS says, and not what their names say. */
  get broken(): string[] {
    return this.sums.broken;
  }

  /** Every file, each to be handed on before the next. Ends only where the backup is whole and every sum fits. */
  async *entries(): AsyncGenerator<BackupEntry> {
    for (;;) {
      const entry = await nextOf(this.rest, "is not whole");
      if (!entry) throw new NoBackup(`is not whole: it ends without ${SUMS}`);
      if (entry.header.name === SUMS) {
        await this.check(entry).catch((error) => {
          throw streamError(error, "is not whole");
        });
        break;
      }
      yield this.handedOn(entry);
    }
    if (await nextOf(this.rest, "is not whole")) throw new NoBackup(`is damaged: something follows ${SUMS}`);
  }

  private handedOn(entry: Entry): BackupEntry {
    const { name, type, linkname } = entry.header;
    const { part, path } = placeOf(name);
    const moved = type === "link" ? { linkname: placeOf(linkname ?? "").path } : {};
    const header = { ...plain(entry.header), ...moved, name: path };
    const into = async (target: Pack | undefined) => {
      const hash = createHash("sha256");
      const told = (bytes: Buffer) => {
        hash.update(bytes);
        this.onBytes(bytes.length);
      };
      await pass(entry, path === "" ? undefined : target, header, told);
      if (isFile(entry.header)) this.sums.add(name, hash);
    };
    return { part, header, into };
  }

  private async check(entry: Entry): Promise<void> {
    let read = "";
    let line = 0;
    for await (const piece of entry as AsyncIterable<Buffer>) {
      read += piece.toString("latin1");
      const lines = read.split("\n");
      read = lines.pop() ?? "";
      for (const each of lines) this.compare(each, line++);
    }
    if (read !== "" || line !== this.sums.lines.length) {
      throw new NoBackup(`is damaged: ${SUMS} has ${line} lines for ${this.sums.lines.length} files`);
    }
  }

  private compare(line: string, index: number): void {
    const found = this.sums.lines[index]?.trimEnd() ?? "";
    // The sums are read as bytes, whatever the names are written in.
    if (Buffer.from(found).toString("latin1") === line) return;
    throw new NoBackup(`is damaged: ${found.slice(66) || "a file that is not there"} is not what ${SUMS} says`);
  }
}

async function nextOf(entries: AsyncIterator<Entry>, otherwise: string): Promise<Entry | undefined> {
  try {
    return (await entries.next()).value;
  } catch (error) {
    throw streamError(error, otherwise);
  }
}

/** What tar-stream complains of is the stream's fault; what comes of the machine, of a pod or of somebody's wish is not. */
function streamError(error: unknown, otherwise: string): unknown {
  const { syscall, name, message } = error as NodeJS.ErrnoException;
  if (syscall || name === "AbortError" || error instanceof UserError || error instanceof NoBackup) return error;
  return new NoBackup(`${otherwise}: ${message.split(". ")[0]}`);
}

/** One entry from a tar into another, or into nothing. */
async function pass(
  entry: Entry,
  target: Pack | undefined,
  header: KeptHeader,
  told: (bytes: Buffer) => void,
): Promise<void> {
  const done = Promise.withResolvers<void>();
  done.promise.catch(() => undefined);
  const sink = target?.entry(header, (error) => (error ? done.reject(error) : done.resolve()));
  // Said by `done`.
  sink?.on("error", () => undefined);
  try {
    for await (const bytes of entry as AsyncIterable<Buffer>) {
      told(bytes);
      if (sink && !sink.write(bytes)) await drained(sink);
      if (sink?.destroyed) break;
    }
  } catch (error) {
    throw streamError(error, "is not whole");
  }
  sink?.end(null);
  if (sink) await done.promise;
}

function drained(sink: Sink): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      sink.off("drain", done);
      sink.off("close", done);
      resolve();
    };
    sink.on("drain", done);
    sink.on("close", done);
    if (sink.destroyed) done();
  });
}

const isFile = ({ type }: Header): boolean => type === "file" || type === "contiguous-file";

const plain = ({ name, mode, uid, gid, size, mtime, type, linkname }: Header): KeptHeader => ({
  ...{ name, mode, uid, gid, size, mtime, type, linkname },
});
