import { randomBytes } from "node:crypto";
import { readdir, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pMap from "p-map";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { podTools, testTools } from "../tools.ts";
import { errorOf, OCI_INDEX, OCI_MANIFEST, Refused, RegistryClient, sha256 } from "./client.ts";
import { Pod, PULLER, WRITER } from "./pod.ts";

/** Writes are back this many seconds after the last process of a collection has gone: two measurements, and a busy machine. */
const REOPENED_AFTER = 30;

const HOUR = 3600;
let pod: Pod;
let client: RegistryClient;

beforeAll(async () => {
  pod = await Pod.start(await podTools(await testTools()));
  client = new RegistryClient(pod.url, WRITER);
});
afterAll(() => pod?.stop());
afterEach(() => until(isWritable, 60));

const isWritable = () => client.takesWrites();

async function until(condition: () => Promise<boolean>, seconds: number): Promise<boolean> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(100)) if (await condition()) return true;
  return false;
}

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

/** A manifest's content; the same options give the same digest only with the same layer. */
async function imageManifest(repository: string, options: { subject?: string; layer?: Buffer } = {}): Promise<string> {
  const layer = options.layer ?? randomBytes(2048);
  const config = Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux" }));
  const blob = async (mediaType: string, content: Buffer): Promise<Descriptor> => ({
    mediaType,
    digest: await client.pushBlob(repository, content),
    size: content.length,
  });
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: await blob("application/vnd.oci.image.config.v1+json", config),
    layers: [await blob("application/vnd.oci.image.layer.v1.tar", layer)],
    ...(options.subject ? { subject: { mediaType: OCI_MANIFEST, digest: options.subject, size: 1 } } : {}),
  });
}

/** Pushes by digest alone unless a tag is named. Returns the digest. */
async function push(repository: string, manifest: string, tag?: string): Promise<string> {
  const { mediaType } = JSON.parse(manifest) as { mediaType: string };
  const answer = await client.putManifest(repository, tag ?? sha256(manifest), manifest, mediaType);
  if (answer.status !== 201) throw new Error(`${repository}: ${answer.status} ${await answer.text()}`);
  return sha256(manifest);
}

const pushImage = async (repository: string, options: { subject?: string; tag?: string } = {}): Promise<string> =>
  push(repository, await imageManifest(repository, options), options.tag);

const index = (digests: string[], extra: object = {}): string =>
  JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    manifests: digests.map((digest) => ({ mediaType: OCI_MANIFEST, digest, size: 1 })),
    ...extra,
  });

const repositoryFolder = (repository: string) =>
  join(pod.layout.volume, "docker/registry/v2/repositories", repository, "_manifests");
const linkOf = (repository: string, digest: string) =>
  join(repositoryFolder(repository), "revisions", ...digest.split(":"), "link");
const dataOf = (digest: string) => {
  const hex = digest.slice("sha256:".length);
  return join(pod.layout.volume, "docker/registry/v2/blobs/sha256", hex.slice(0, 2), hex, "data");
};

/** As if it had been pushed that long ago. */
async function age(repository: string, seconds: number, ...digests: string[]): Promise<void> {
  const then = Date.now() / 1000 - seconds;
  for (const digest of digests) await utimes(linkOf(repository, digest), then, then);
}

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

const has = (repository: string, digest: string) => exists(linkOf(repository, digest));

/** Returns when writes are back. */
async function collect(...args: string[]): Promise<string> {
  const { all, exitCode } = await pod.collectGarbage(args);
  expect(exitCode, all).toBe(0);
  if (!args.includes("--dry-run")) expect(await until(isWritable, REOPENED_AFTER)).toBe(true);
  return all;
}

describe("--untagged", () => {
  test("takes what is old and has no tag: a tag that moved, a tag that was deleted, with their layers; nothing else", async () => {
    const moved = await client.pushImage("old/app", "latest", 300_000);
    const stays = await client.pushImage("old/app", "latest");
    const untagged = await client.pushImage("old/app", "gone", 300_000);
    expect((await client.request("/v2/old/app/manifests/gone", { method: "DELETE" })).status).toBe(202);
    const young = await client.pushImage("old/app", "young", 300_000);
    expect((await client.request("/v2/old/app/manifests/young", { method: "DELETE" })).status).toBe(202);
    await age("old/app", 25 * HOUR, moved, stays, untagged);
    await age("old/app", 23 * HOUR, young);

    await collect();
    expect(await has("old/app", moved), "without --untagged it stays").toBe(true);

    expect(await collect("--untagged")).toMatch(/2 untagged manifests, 6 blobs/);
    for (const digest of [moved, untagged]) {
      expect(await has("old/app", digest)).toBe(false);
      expect(await exists(dataOf(digest))).toBe(false);
    }
    expect(await readdir(join(repositoryFolder("old/app"), "tags/latest/index/sha256"))).toEqual([stays.slice(7)]);
    expect(await client.pullImage("old/app", "latest")).toBe(stays);
    expect(await client.pullImage("old/app", young)).toBe(young);

    await collect("--untagged", "--older-than", "22h");
    expect(await has("old/app", young)).toBe(false);
    expect(await client.pullImage("old/app", "latest")).toBe(stays);
  });

  test("an index whose images are pushed and which is itself still on its way is not cut", async () => {
    const images = [await pushImage("multi/young"), await pushImage("multi/young")];
    await collect("--untagged");
    const whole = await push("multi/young", index(images), "1");
    await age("multi/young", 30 * HOUR, ...images, whole);
    await collect("--untagged");
    for (const image of images) expect(await client.pullImage("multi/young", image)).toBe(image);
  });

  test("one that took longer than the age is cut, says so to its client, and is whole after a retry", async () => {
    const manifests = [await imageManifest("multi/slow"), await imageManifest("multi/slow")];
    const images = await Promise.all(manifests.map((manifest) => push("multi/slow", manifest)));
    await age("multi/slow", 25 * HOUR, ...images);
    await collect("--untagged");
    const late = await client.putManifest("multi/slow", "1", index(images), OCI_INDEX);
    expect((await errorOf(late))?.code).toBe("MANIFEST_BLOB_UNKNOWN");

    const layer = randomBytes(64);
    const again = await Promise.all(
      [0, 1].map(async () => push("multi/slow", await imageManifest("multi/slow", { layer }))),
    );
    await push("multi/slow", index(again), "1");
    await collect("--untagged");
    for (const image of again) expect(await client.pullImage("multi/slow", image)).toBe(image);
  });

  test("images of an index that stays are never cut, in an index of indexes neither; those of one that goes are, but shared ones", async () => {
    const [inner, shared, doomed, tagged] = [
      await pushImage("nested"),
      await pushImage("nested"),
      await pushImage("nested"),
      await pushImage("nested", { tag: "also-alone" }),
    ];
    const child = await push("nested", index([inner, shared]));
    const parent = await push("nested", index([child, tagged]), "1");
    const former = await push("nested", index([shared, doomed, tagged]));
    await age("nested", 48 * HOUR, inner, shared, doomed, tagged, child, parent, former);

    expect(await collect("--untagged")).toMatch(/2 untagged manifests/);
    for (const digest of [inner, shared, tagged]) expect(await client.pullImage("nested", digest)).toBe(digest);
    for (const digest of [child, parent]) expect(await has("nested", digest)).toBe(true);
    for (const digest of [former, doomed]) expect(await has("nested", digest)).toBe(false);
  });

  test("signatures and SBOMs stay with the image they name as subject, and go with it", async () => {
    const image = await pushImage("signed", { tag: "1" });
    const signature = await pushImage("signed", { subject: image });
    const ofSignature = await pushImage("signed", { subject: signature });
    const listed = await push("signed", index([], { subject: { mediaType: OCI_MANIFEST, digest: image, size: 1 } }));
    const former = await pushImage("signed");
    const ofFormer = await pushImage("signed", { subject: former });
    const byFallbackTag = await pushImage("signed", { subject: image });
    await push("signed", index([byFallbackTag]), image.replace(":", "-"));
    const all = [image, signature, ofSignature, listed, former, ofFormer, byFallbackTag];
    await age("signed", 48 * HOUR, ...all);

    await collect("--untagged");
    for (const digest of [image, signature, ofSignature, byFallbackTag]) {
      expect(await client.pullImage("signed", digest)).toBe(digest);
    }
    expect(await has("signed", listed)).toBe(true);
    for (const digest of [former, ofFormer]) expect(await has("signed", digest)).toBe(false);
  });

  test("an image that two repositories have goes from the one where it has no tag, and stays whole in the other", async () => {
    const layer = randomBytes(4096);
    const digests = await Promise.all(
      ["shared/one", "shared/two"].map(async (repository) =>
        push(repository, await imageManifest(repository, { layer }), repository === "shared/one" ? "1" : undefined),
      ),
    );
    const [digest = ""] = digests;
    expect(digests[1]).toBe(digest);
    for (const repository of ["shared/one", "shared/two"]) await age(repository, 48 * HOUR, digest);

    await collect("--untagged");
    expect(await has("shared/two", digest)).toBe(false);
    expect(await client.pullImage("shared/one", "1")).toBe(digest);
  });

  test("a repository in which something cannot be read keeps everything, and that is said", async () => {
    const odd = await pushImage("odd/escaped");
    const escaped = index([odd]).replace("sha256:", "sha\\u003256:");
    await push("odd/escaped", escaped, "1");
    const empty = await client.pushImage("odd/empty", "1");
    await writeFile(join(repositoryFolder("odd/empty"), "tags/1/current/link"), "");
    await age("odd/escaped", 48 * HOUR, odd, sha256(escaped));
    await age("odd/empty", 48 * HOUR, empty);

    const all = await collect("--untagged");
    expect(all).toContain(`odd/escaped keeps its untagged manifests: ${sha256(escaped)} cannot be read`);
    expect(all).toContain("odd/empty keeps its untagged manifests: its tag 1 cannot be read");
    for (const [repository, digest] of [
      ["odd/escaped", odd],
      ["odd/empty", empty],
    ] as const) {
      expect(await client.pullImage(repository, digest)).toBe(digest);
    }
    for (const name of ["escaped", "empty"]) {
      await rm(join(pod.layout.volume, "docker/registry/v2/repositories/odd", name), { recursive: true });
    }
  });

  test("a dry run says beforehand what goes, and changes nothing", async () => {
    await collect("--untagged");
    const large = await client.pushImage("told", "1", 3 * 2 ** 20);
    await client.pushImage("told", "1");
    await age("told", 48 * HOUR, large);
    const untouched = await pod.usedBytes();

    const told = JSON.parse(await collect("--dry-run", "--untagged", "--porcelain")) as Record<string, number>;
    expect(await pod.usedBytes()).toBe(untouched);
    const plain = JSON.parse(await collect("--dry-run", "--porcelain")) as Record<string, number>;
    expect(plain).toMatchObject({ freed: 0, manifests: 0, blobs: 0 });

    const done = JSON.parse((await collect("--untagged", "--porcelain")).split("\n").at(-1) ?? "") as typeof told;
    expect(told).toMatchObject({ manifests: 1, blobs: 3 });
    expect(done).toMatchObject({ manifests: 1, blobs: 3 });
    // The collection frees the folders too.
    expect(done.freed).toBeGreaterThanOrEqual(told.freed ?? 0);
    expect((done.freed ?? 0) - (told.freed ?? 0)).toBeLessThan(200_000);
  });
});

test("pushes and pulls go on through rounds of collections: no pull fails, every acknowledged tag stays whole", async () => {
  const puller = new RegistryClient(pod.url, PULLER);
  const pulled = await Promise.all([1, 2, 3, 4, 5].map((number) => client.pushImage("busy/kept", `${number}`, 50_000)));
  const acknowledged = new Map<string, string>();
  let refused = 0;
  for (let round = 0; round < 4; round++) {
    const collection = sleep(2000).then(() => pod.collectGarbage(["--untagged"]));
    await Promise.all([
      pMap(
        Array.from({ length: 50 }, (_, number) => number),
        async (number) => {
          const tag = `${round}-${number}`;
          await sleep(number * 160);
          try {
            acknowledged.set(tag, await client.pushImage(`busy/app-${number % 7}`, tag, 20_000));
          } catch (error) {
            // 503 meanwhile; 404 where the collection came between a push's layers and its manifest.
            expect(error).toBeInstanceOf(Refused);
            expect([503, 404, 400]).toContain((error as Refused).status);
            refused++;
            expect(await until(isWritable, 60)).toBe(true);
            acknowledged.set(tag, await client.pushImage(`busy/app-${number % 7}`, tag, 20_000));
          }
        },
        { concurrency: 50 },
      ),
      pMap(
        Array.from({ length: 50 }, (_, number) => number % pulled.length),
        async (number) => expect(await puller.pullImage("busy/kept", `${number + 1}`)).toBe(pulled[number]),
        { concurrency: 10 },
      ),
    ]);
    const { all, exitCode } = await collection;
    expect(exitCode, all).toBe(0);
  }
  console.log(`of ${acknowledged.size} pushes ${refused} met a collection and were pushed again`);
  for (const [tag, digest] of acknowledged) {
    expect(await puller.pullImage(`busy/app-${Number(tag.split("-")[1]) % 7}`, tag)).toBe(digest);
  }
});

describe("however a collection ends, writes come back", () => {
  const kept = async () => {
    const digest = await client.pushImage("kept", "1");
    return async () => expect(await client.pullImage("kept", "1")).toBe(digest);
  };

  test("the script is killed at any moment: writes stay closed while its collector works, and no longer", async () => {
    const stillWhole = await kept();
    for (const moment of [100, 600, 1000, 1300, 1600, 2000, 2500]) {
      await pod.addUnreferencedBlobs(1500);
      const collection = pod.startCollection(["--untagged"]);
      await sleep(moment);
      collection.kill("SIGKILL");
      await collection;
      expect(await until(isWritable, 30), `killed after ${moment} ms`).toBe(true);
      expect(await pod.collectorsRunning(), "none works while writes are open").toBe(0);
      await stillWhole();
    }
    expect(await until(async () => (await pod.collectionShells()) === 0, 30), "nobody waits for the time limit").toBe(
      true,
    );
    await collect("--untagged");
  });

  test("--stop ends it within seconds, wherever it is; it says so, and what it leaves is whole", async () => {
    const stillWhole = await kept();
    for (const moment of [300, 900, 1300, 1800]) {
      await pod.addUnreferencedBlobs(3000);
      const collection = pod.startCollection();
      await sleep(moment);
      expect(await collect("--stop")).toMatch(/has been ended|no collection is running/);
      const { all, exitCode } = await collection;
      if (exitCode !== 0) expect(all).toContain("ended before its time");
      expect(await until(isWritable, REOPENED_AFTER), `ended after ${moment} ms`).toBe(true);
      await stillWhole();
    }
    await collect();
  });

  test("--stop ends a collector that the script has left behind, and no backup that holds the same lock", async () => {
    await pod.addUnreferencedBlobs(6000);
    const collection = pod.startCollection();
    expect(await until(async () => (await pod.collectorsRunning()) > 0, 30)).toBe(true);
    collection.kill("SIGKILL");
    await collect("--stop");
    expect(await pod.collectorsRunning()).toBe(0);
    expect(await until(isWritable, REOPENED_AFTER)).toBe(true);

    const backup = pod.holdCollectorLock();
    await sleep(300);
    const { all, exitCode } = await pod.collectGarbage(["--stop"]);
    expect(exitCode).toBe(1);
    expect(all).toContain("something else holds writes");
    backup.release();
    expect(await until(isWritable, REOPENED_AFTER)).toBe(true);
  });

  test("the time limit ends it, and that is said", async () => {
    await pod.addUnreferencedBlobs(10_000);
    const { all, exitCode } = await pod.collectGarbage([], { COLLECT_SECONDS: "1" });
    expect(exitCode, all).toBe(1);
    expect(all).toContain("was ended by its time limit of 1 s");
    expect(await until(isWritable, REOPENED_AFTER)).toBe(true);
    await collect();
  });

  test("a collector that fails: the reason, and no word of space that was freed", async () => {
    const digest = await client.pushImage("broken", "1");
    await truncate(dataOf(digest));
    const { all, exitCode } = await pod.collectGarbage();
    expect(exitCode).toBe(1);
    expect(all).toContain(`failed to retrieve manifest for digest ${digest}`);
    expect(all).not.toContain("freed");
    expect(await until(isWritable, REOPENED_AFTER)).toBe(true);
    await rm(join(pod.layout.volume, "docker/registry/v2/repositories/broken"), { recursive: true });
  });
});

test("a repository that never had a layer is no reason to fail", async () => {
  const empty = await push("layerless", index([]), "1");
  await collect();
  expect(await has("layerless", empty)).toBe(true);
});

test("an empty registry: nothing is freed, and it is no mistake", async () => {
  await rm(join(pod.layout.volume, "docker"), { recursive: true });
  expect(await collect("--dry-run", "--untagged")).toContain("would free 0 MiB: 0 untagged manifests, 0 blobs");
  expect(await collect("--untagged")).toContain("freed 0 MiB");
  await rm(join(pod.layout.volume, "docker"), { recursive: true });
  await pod.addUnreferencedBlobs(10);
  expect(await collect("--untagged")).toContain("10 blobs");
});

test.each([
  [["--untagged", "--older-than", "24"], "24 is no age"],
  [["--untagged", "--older-than", "1.5h"], "1.5h is no age"],
  [["--untagged", "--older-than", "106751991167301d"], "106751991167301d is no age"],
  [["--untagged", "--older-than"], "needs an age"],
  [["--older-than", "1h"], "add --untagged"],
  [["--delete-untagged"], "use --untagged"],
  [["--now"], "there is no option --now"],
])("%j is refused before anything happens", async (args, message) => {
  const { all, exitCode } = await pod.collectGarbage(args);
  expect(exitCode).toBe(2);
  expect(all).toContain(message);
});
