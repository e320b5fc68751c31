import { rmSync } from "node:fs";
import { access, constants, mkdtemp, rename, rm } from "node:fs/promises";
import { constants as os, tmpdir } from "node:os";
import { join } from "node:path";

/** What must not be left behind, however the command ends. */
const leftovers = new Set<string>();

const ENDED_BY = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

function removeAll(): void {
  for (const path of leftovers) rmSync(path, { recursive: true, force: true });
}

/** As a shell tells it: 128 and the signal's number. */
const onSignal = (signal: NodeJS.Signals) => process.exit(128 + os.signals[signal]);

function watch(path: string): void {
  if (leftovers.size === 0) {
    process.on("exit", removeAll);
    for (const signal of ENDED_BY) process.on(signal, onSignal);
  }
  leftovers.add(path);
}

function unwatch(path: string): void {
  leftovers.delete(path);
  if (leftovers.size > 0) return;
  process.off("exit", removeAll);
  for (const signal of ENDED_BY) process.off(signal, onSignal);
}

/** Gives a folder that is gone afterwards. Not in /tmp, which many machines keep in memory: layers are large. */
export async function withScratch<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(await roomyFolder(), "homecloud-"));
  watch(folder);
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
    unwatch(folder);
  }
}

async function roomyFolder(): Promise<string> {
  if (process.env.TMPDIR) return process.env.TMPDIR;
  const usable = await access("/var/tmp", constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
  return usable ? "/var/tmp" : tmpdir();
}

/** A file that is there whole or not at all: written beside its name, and renamed. */
export async function writeWhole(file: string, write: (part: string) => Promise<void>): Promise<void> {
  const part = `${file}.${process.pid}.part`;
  watch(part);
  try {
    await write(part);
    await rename(part, file);
  } finally {
    await rm(part, { force: true });
    unwatch(part);
  }
}
