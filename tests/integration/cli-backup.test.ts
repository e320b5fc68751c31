import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ArchiveReader } from "../../cli/backup/archive.ts";
import { type Place, scriptCommand } from "../../cli/backup/in-pod.ts";
import { putBack } from "../../cli/backup/put-back.ts";
import { RegistryHold } from "../../cli/backup/registry-hold.ts";
import { parseRoom } from "../../cli/backup/room.ts";
import { save, toFolder } from "../../cli/backup/save.ts";
import type { Streams } from "../../cli/cluster/kube.ts";
import { makeBars } from "../../cli/transfer/bars.ts";
import { collectorEnvironment } from "../../components/registry/files.ts";
import type { Tools } from "../../lab/lab.ts";
import { podTools, testTools } from "../tools.ts";
import { RegistryClient } from "./client.ts";
import { Pod, PULLER, WRITER } from "./pod.ts";

/** What docs/operations.md promises: so long after a command has ended, however, writes are open again. */
const REOPENED_AFTER = 30;

let tools: Tools;
let pod: Pod;
let writer: RegistryClient;
let puller: RegistryClient;
let folder: string;

beforeAll(async () => {
  tools = await testTools();
  pod = await Pod.start(await podTools(tools));
  writer = new RegistryClient(pod.url, WRITER);
  puller = new RegistryClient(pod.url, PULLER);
});
afterAll(() => pod?.stop());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "homecloud-backup-"));
});

const quiet = makeBars(true);

/** The pod's containers as processes of this machine: `kubectl exec` but for the cluster. */
function place(): Place {
  const exec = async (_: unknown, __: string, command: string[], streams: Streams = {}) => {
    const [, ...args] = command;
    const child = spawn(shell(), args, { env: environment(), stdio: ["pipe", "pipe", "pipe"] });
    child.stdin.on("error", () => undefined);
    if (streams.stdin) streams.stdin.pipe(child.stdin);
    else child.stdin.end();
    child.stdout.pipe(streams.stdout ?? process.stderr);
    child.stderr.pipe(streams.stderr ?? process.stderr);
    streams.stdout?.once("close", () => child.stdout.destroy());
    const [code] = (await once(child, "close")) as [number | null];
    return code ?? 137;
  };
  const run = async (_: unknown, __: string, command: string[]) =>
    (await execa(shell(), command.slice(1), { env: environment(), extendEnv: false })).stdout;
  return { kube: { exec, run }, pod: { spec: { containers: [] } }, container: "registry" };
}

const shell = () => join(pod.path, "sh");

const environment = () => ({
  ...{ PATH: pod.path, ...collectorEnvironment(pod.layout), LIMIT: String(2 ** 30), KEEP_FREE: String(2 ** 20) },
  DRAIN_SECONDS: "10",
});

async function backup(stop = new AbortController()) {
  return await save({ stack: "test", registry: place(), localstack: undefined }, await toFolder(folder), quiet, stop);
}

async function restore(bytes: Buffer, stop = new AbortController()) {
  const pieces = Array.from({ length: Math.ceil(bytes.length / 65536) }, (_, index) =>
    bytes.subarray(index * 65536, (index + 1) * 65536),
  );
  const reader = await ArchiveReader.open(Readable.from(pieces), stop.signal);
  return await putBack(reader, { registry: place(), localstack: undefined }, quiet, stop);
}

const isWritable = () => writer.takesWrites();

async function writesAreBack(): Promise<number> {
  const begun = Date.now();
  while (!(await isWritable())) {
    if (Date.now() - begun > REOPENED_AFTER * 1000) throw new Error(`no write after ${REOPENED_AFTER} s`);
    await sleep(200);
  }
  return (Date.now() - begun) / 1000;
}

const volume = (...parts: string[]) => join(pod.layout.volume, ...parts);
const leftovers = async () => (await readdir(volume())).filter((name) => name.startsWith("homecloud-"));
const blobFile = (digest: string) => {
  const hex = digest.replace("sha256:", "");
  return volume("docker/registry/v2/blobs/sha256", hex.slice(0, 2), hex, "data");
};

describe("a registry", () => {
  test("is saved while images are pushed and pulled, checked by hand, and put back into an emptied one", async () => {
    const digest = await writer.pushImage("team/app", "1.0", 3_000_000);
    await writer.beginUpload("team/app");
    const { file = "", registry } = await backup();
    expect(registry).toMatchObject({ blobs: 3, broken: [] });
    await writesAreBack();

    const by = join(folder, "by-hand");
    await mkdir(by);
    await execa("tar", ["-xf", file, "-C", by]);
    await execa("sha256sum", ["--quiet", "--check", "SHA256SUMS"], { cwd: by });
    expect((await readdir(by, { recursive: true })).filter((name) => name.includes("_uploads"))).toEqual([]);

    const later = await writer.pushImage("team/later", "1.0");
    await rm(volume("docker"), { recursive: true });
    await restore(await readFile(file));
    expect(await puller.pullImage("team/app", "1.0")).toBe(digest);
    await expect(puller.pullImage("team/later", "1.0"), later).rejects.toThrow();
    expect(await leftovers()).toEqual([]);
    await writesAreBack();
    // What was restored takes new images.
    expect(await puller.pullImage("team/app", "1.0")).toBe(digest);
    await writer.pushImage("team/app", "2.0");
    expect((await pod.collectGarbage()).exitCode).toBe(0);
    expect(await puller.pullImage("team/app", "1.0")).toBe(digest);
  });

  test("is saved whole where it has more blobs than one command takes names", async () => {
    await pod.addUnreferencedBlobs(3000);
    const isBlob = (name: string) => /blobs\/sha256\/.*\/data$/.test(name);
    const stored = (await readdir(volume(), { recursive: true })).filter(isBlob).length;
    const { file = "", registry } = await backup();
    expect(stored).toBeGreaterThan(3000);
    expect(registry?.blobs).toBe(stored);
    expect((await execa("tar", ["-tf", file])).stdout.split("\n").filter(isBlob)).toHaveLength(stored);
    expect((await pod.collectGarbage()).exitCode).toBe(0);
    await writesAreBack();
  });

  test("keeps what it has when a backup is cut or damaged", async () => {
    const { file = "" } = await backup();
    await writesAreBack();
    const whole = await readFile(file);
    const digest = await writer.pushImage("kept", "1.0", 100_000);
    const changed = Buffer.from(whole);
    const at = Math.floor(whole.length / 2);
    changed[at] = (changed[at] ?? 0) ^ 1;
    await expect(restore(changed)).rejects.toThrow(/data is not what SHA256SUMS says|is not whole/);
    for (const part of [0.3, 0.9, 0.999]) {
      await expect(restore(whole.subarray(0, Math.floor(whole.length * part)))).rejects.toThrow(/is not whole/);
    }
    expect(await puller.pullImage("kept", "1.0")).toBe(digest);
    expect(await leftovers()).toEqual([]);
    await writesAreBack();
  });

  test("with a broken blob is saved all the same, and the blob is named; a restore leaves it out, and a push brings it again", async () => {
    const content = Buffer.from("a layer".repeat(1000));
    const digest = await writer.pushBlob("mended", content);
    await writeFile(blobFile(digest), "other");
    const { file = "", registry } = await backup();
    expect(registry?.broken).toEqual([digest]);
    const restored = await restore(await readFile(file));
    expect(restored.registry?.dropped).toEqual([digest]);
    await writesAreBack();
    expect((await puller.request(`/v2/mended/blobs/${digest}`)).status).toBe(404);
    await writer.pushBlob("mended", content);
    expect((await puller.request(`/v2/mended/blobs/${digest}`)).status).toBe(200);
  });
});

describe("writes", () => {
  test("are open, and collections are not, once the tags are noted", async () => {
    const hold = await RegistryHold.take(place(), () => {}, new AbortController());
    expect(await isWritable()).toBe(false);
    await hold.ask("snapshot");
    await hold.ask("share");
    await writesAreBack();
    const collection = await pod.collectGarbage();
    expect(collection.exitCode).toBe(1);
    expect(collection.all).toContain("a collection is already running, or a backup");
    await expect(RegistryHold.take(place(), () => {}, new AbortController())).rejects.toThrow(
      "a collection, a backup or a restore is running",
    );
    expect(await leftovers()).toEqual(["homecloud-backup"]);
    await hold.release();
    expect(await leftovers()).toEqual([]);
    expect((await pod.collectGarbage()).exitCode).toBe(0);
  });

  test("come back by themselves where the command is silent, and where its connection ends", async () => {
    for (const end of [true, false]) {
      const child = spawn(shell(), scriptCommand("registry-pod", "hold").slice(1), {
        env: { ...environment(), PATIENCE: "5" },
        stdio: ["pipe", "pipe", "inherit"],
      });
      const beats = setInterval(() => child.stdin.write("beat\n"), 500);
      await once(child.stdout, "data");
      expect(await isWritable()).toBe(false);
      clearInterval(beats);
      if (end) child.stdin.end();
      console.log(`${end ? "connection ended" : "silent"}: writes back after ${await writesAreBack()} s`);
    }
    expect(await leftovers()).toEqual([]);
  });

  test("wait for those that are under way, and are given back where these do not end", async () => {
    const { location } = await writer.beginUpload("slow");
    const upload = pod.slowUpload(location, WRITER);
    const told: string[] = [];
    const taken = RegistryHold.take(place(), (writers) => told.push(writers), new AbortController());
    await expect(taken).rejects.toThrow("pushes are still under way after 10 s");
    expect(told).toContain("1");
    upload.destroy();
    await writesAreBack();
  });
});

test("an interrupted backup leaves no file and no hold", async () => {
  await writer.pushImage("large", "1.0", 50_000_000);
  const stop = new AbortController();
  const running = backup(stop);
  setTimeout(() => stop.abort(new Error("enough")), 3500);
  await running.then(
    () => undefined,
    (error: Error) => expect(error.message).toBe("enough"),
  );
  if (stop.signal.aborted) expect(await readdir(folder)).toEqual([]);
  await writesAreBack();
  expect(await leftovers()).toEqual([]);
});

test("what there is and how much fits", async () => {
  const line = await place().kube.run({}, "quota", scriptCommand("registry-pod", "look"));
  expect(parseRoom(line)).toMatchObject({ empty: false, limit: 2 ** 30, keepFree: 2 ** 20 });
});

test("a backup of a gigabyte takes no more memory than one of a megabyte", async () => {
  const megabytes = async (size: string) => {
    const program = new URL("./backup-memory.ts", import.meta.url).pathname;
    const { stdout } = await execa("node", [program, size]);
    return Number(stdout);
  };
  const [small, large] = [await megabytes("1"), await megabytes("1024")];
  console.log(`${small} MB for a megabyte, ${large} MB for a gigabyte`);
  expect(large - small).toBeLessThan(80);
});

test("shellcheck has nothing to say about what runs in pods", async () => {
  const scripts = ["registry-pod.sh", "localstack-pod.sh"];
  const cwd = new URL("../../cli/backup/", import.meta.url).pathname;
  const { stdout, exitCode } = await execa(tools.bin("shellcheck"), scripts, { cwd, reject: false });
  expect(exitCode, stdout).toBe(0);
});
