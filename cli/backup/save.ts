import { createWriteStream, write } from "node:fs";
import { rename, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { EXIT, UserError } from "../errors.ts";
import type { Bars } from "../transfer/bars.ts";
import { bytes as size } from "../units.ts";
import { ArchiveWriter } from "./archive.ts";
import { type Contents, fileName } from "./format.ts";
import { type Place, readFrom } from "./in-pod.ts";
import { type LocalStackFacts, LocalStackPause } from "./localstack-pause.ts";
import { registryImage } from "./registry.ts";
import { RegistryHold } from "./registry-hold.ts";

/** What is to be saved. */
export interface Sources {
  stack: string;
  registry: Place | undefined;
  /** With about how many bytes it holds. */
  localstack: (LocalStackFacts & { bytes: number }) | undefined;
}

/** What was saved. */
export interface Saved {
  /** Undefined where it went to stdout. */
  file: string | undefined;
  bytes: number;
  seconds: number;
  registry: { blobs: number; bytes: number; writesHeldSeconds: number; broken: string[] } | undefined;
  localstack: { bytes: number; awaySeconds: number } | undefined;
}

/** Where a backup goes: a file that has its name only once it is whole, or stdout. */
export interface Destination {
  open(contents: Contents): Promise<Writable>;
  /** Returns the file's name. */
  keep(): Promise<string | undefined>;
  discard(): Promise<void>;
}

/**
 * Not process.stdout: to a pipe that writes synchronously, and nothing else would happen while its reader sleeps. Not a stream
 * of node:fs either: once something has looked at process.stdout the pipe does not block, and that gives up after five tries.
 */
export function toStdout(): Destination {
  return {
    open: async () => new Stdout({ highWaterMark: 2 ** 20 }),
    keep: async () => undefined,
    discard: async () => undefined,
  };
}

class Stdout extends Writable {
  bytesWritten = 0;

  override _write(bytes: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.writeAll(bytes).then(() => done(), done);
  }

  private async writeAll(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const written = await writeTo(1, bytes.subarray(at)).catch(whereFull);
      if (written === 0) await sleep(10);
      at += written;
      this.bytesWritten += written;
    }
  }
}

const writeTo = async (fd: number, bytes: Buffer) => (await promisify(write)(fd, bytes)).bytesWritten;

function whereFull(error: NodeJS.ErrnoException): number {
  if (error.code !== "EAGAIN") throw error;
  return 0;
}

/** A file in this folder, named by stack and time. Throws a UserError where it is none, or has too little room. */
export async function toFolder(folder: string): Promise<Destination> {
  if (!(await stat(folder).catch(() => undefined))?.isDirectory()) {
    throw new UserError(`there is no folder ${folder}: make it first`, EXIT.missing);
  }
  let file = "";
  const part = () => `${file}.part`;
  return {
    open: async (contents) => {
      const { bavail, bsize } = await statfs(folder);
      const needed = (contents.registry?.bytes ?? 0) + (contents.localstack?.bytes ?? 0);
      if (bavail * bsize < needed) {
        throw new UserError(`the backup needs ${size(needed)}, and ${folder} has ${size(bavail * bsize)} left`);
      }
      file = join(folder, fileName(contents));
      // What is pushed may be secret, and what LocalStack keeps too.
      return createWriteStream(part(), { mode: 0o600, highWaterMark: 2 ** 20, flush: true });
    },
    keep: async () => {
      await rename(part(), file);
      return file;
    },
    discard: async () => {
      if (file) await rm(part(), { force: true });
    },
  };
}

/** Saves all of it, one part after the other. However it ends, writes are open and LocalStack is there again. */
export async function save(sources: Sources, to: Destination, bars: Bars, stop: AbortController): Promise<Saved> {
  const begun = Date.now();
  const time = new Date();
  let hold: RegistryHold | undefined;
  let archive: ArchiveWriter | undefined;
  let written: Writable | undefined;
  try {
    const found = sources.registry && (await takeSnapshot(sources.registry, bars, stop));
    hold = found?.hold;
    const contents = describe(sources, time, found);
    written = await to.open(contents);
    archive = new ArchiveWriter(written, stop.signal);
    await archive.contents(contents);
    const registry = hold &&
      found &&
      sources.registry && {
        ...{ blobs: found.blobs, bytes: found.bytes },
        ...(await saveRegistry(sources.registry, hold, archive, found.bytes, bars, stop)),
      };
    await hold?.release();
    const saved = sources.localstack && (await saveLocalStack(sources.localstack, archive, bars, stop));
    await archive.finish(time);
    const file = await to.keep();
    // Whole by now, whatever becomes of LocalStack.
    archive = undefined;
    const total = "bytesWritten" in written ? Number(written.bytesWritten) : 0;
    const seconds = (Date.now() - begun) / 1000;
    await saved?.pause.untilReady(stop.signal);
    const localstack = saved && { bytes: saved.bytes, awaySeconds: saved.pause.seconds };
    return { file, bytes: total, seconds, registry, localstack };
  } catch (error) {
    await archive?.abort(error as Error);
    if (archive || !written) await to.discard();
    throw explained(error);
  } finally {
    await hold?.release();
  }
}

interface Snapshot {
  hold: RegistryHold;
  blobs: number;
  bytes: number;
}

/** From here on writes are open again: what is still to be read are blobs, which only a collection would remove. */
async function takeSnapshot(place: Place, bars: Bars, stop: AbortController): Promise<Snapshot> {
  const hold = await RegistryHold.takeTelling(place, bars, stop);
  try {
    const [blobs = 0, bytes = 0] = await hold.ask("snapshot");
    await hold.ask("share");
    return { hold, blobs, bytes };
  } catch (error) {
    await hold.release();
    throw error;
  }
}

async function saveRegistry(
  place: Place,
  hold: RegistryHold,
  archive: ArchiveWriter,
  total: number,
  bars: Bars,
  { signal }: AbortController,
) {
  const bar = bars.start("registry", total);
  let done = 0;
  const advance = (count: number) => {
    done += count;
    bar.at(Math.min(done, total));
  };
  await readFrom(place, "registry-pod", "links", (tar) => archive.add("registry", tar), signal);
  await readFrom(place, "registry-pod", "blobs", (tar) => archive.add("registry", tar, advance), signal);
  bar.end("saved");
  return { writesHeldSeconds: hold.seconds, broken: archive.broken };
}

async function saveLocalStack(
  { bytes: total, ...facts }: NonNullable<Sources["localstack"]>,
  archive: ArchiveWriter,
  bars: Bars,
  { signal }: AbortController,
) {
  const bar = bars.start("localstack", total);
  const pause = await LocalStackPause.begin(facts, signal);
  let done = 0;
  const advance = (count: number) => {
    done += count;
    bar.at(Math.min(done, total));
  };
  try {
    await readFrom(pause.volume, "localstack-pod", "read", (tar) => archive.add("localstack", tar, advance), signal);
  } finally {
    await pause.end();
  }
  bar.end("saved");
  return { pause, bytes: done };
}

function describe({ stack, registry, localstack }: Sources, time: Date, found: Snapshot | undefined): Contents {
  return {
    homecloudBackup: 1,
    time: time.toISOString(),
    stack,
    ...(registry && found
      ? { registry: { blobs: found.blobs, bytes: found.bytes, image: registryImage(registry.pod) } }
      : {}),
    ...(localstack
      ? { localstack: { bytes: localstack.bytes, edition: localstack.edition, image: localstack.image } }
      : {}),
  };
}

/** What the machine complains of, in words. */
function explained(error: unknown): unknown {
  const { code, message, path } = error as NodeJS.ErrnoException;
  if (code === "EPIPE") return new UserError("whoever reads the backup has ended before it did");
  if (code === "ENOSPC") return new UserError("there is no room left where the backup goes, and it was removed again");
  return code && path ? new UserError(`the backup cannot be written: ${message}`) : error;
}
