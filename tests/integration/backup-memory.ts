// Streams a tar with a file of so many MiB through both ends of a backup, to a reader that is slow at first. Prints the most
// memory that this took, in MB.
import { spawn } from "node:child_process";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, type Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { pack } from "tar-stream";
import { ArchiveReader, ArchiveWriter } from "../../cli/backup/archive.ts";

const [mebibytes = "1"] = process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), "homecloud-memory-"));
const file = await open(join(folder, "file"), "w");
await file.truncate(Number(mebibytes) * 2 ** 20);
await file.close();

const { signal } = new AbortController();
const pipe = new PassThrough();
const tar = spawn("tar", ["-cf", "-", "-C", folder, "file"], { stdio: ["ignore", "pipe", "inherit"] });
const write = async () => {
  const writer = new ArchiveWriter(pipe, signal);
  await writer.contents({ homecloudBackup: 1, time: new Date().toISOString(), stack: "test" });
  await writer.add("registry", tar.stdout);
  await writer.finish(new Date());
};
const read = async () => {
  await sleep(2000);
  const target = pack();
  (target as unknown as Readable).resume();
  const reader = await ArchiveReader.open(pipe, signal);
  for await (const { into } of reader.entries()) await into(target);
};
await Promise.all([write(), read()]);
await rm(folder, { recursive: true });
console.log(Math.round(process.resourceUsage().maxRSS / 1000));
