import { mkdir, open, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pMap from "p-map";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseBytes } from "../../config/quantity.ts";
import { configSchema } from "../../config/schema.ts";
import { repeated } from "../full-run.ts";
import { podTools, testTools } from "../tools.ts";
import { OCI_MANIFEST, sha256 } from "./client.ts";
import { Pod } from "./pod.ts";

interface Tree {
  images: number;
  /** Of each image, none of them shared. */
  layers: number;
  layerBytes: number;
}

/** 30 GB each. The second takes minutes. */
const TREES: Tree[] = [
  { images: 600, layers: 5, layerBytes: 10e6 },
  { images: 12_000, layers: 5, layerBytes: 0.5e6 },
];
const MEASURED = repeated("trees of 30 GB that are collected", { full: 2, byDefault: 1 });

const LIMIT = parseBytes(configSchema.parse({}).registry.resources.registry.limits.memory) ?? 0;

let pod: Pod;
let root: string;

beforeEach(async () => {
  pod = await Pod.start(await podTools(await testTools()));
  root = `${pod.layout.volume}/docker/registry/v2`;
});
afterEach(() => pod?.stop());

test.each(TREES.slice(0, MEASURED.count))(
  "a collection of $images images, $layers layers of $layerBytes bytes each, fits into half of the memory limit",
  {
    timeout: 900_000,
    ...MEASURED.options,
  },
  async (tree) => {
    await plant(tree);
    // Ages are whole seconds: what was made in this one is not old yet.
    await sleep(2000);
    const look = await measured(["--dry-run", "--untagged", "--older-than", "0m"]);
    expect(look.said).toContain(`${tree.images / 2} untagged manifests`);
    const collection = await measured(["--untagged", "--older-than", "0m"]);
    expect(collection.said).toContain(
      `${tree.images / 2} untagged manifests, ${(tree.images / 2) * (tree.layers + 2)} blobs`,
    );
    const gigabytes = (tree.images * tree.layers * tree.layerBytes) / 1e9;
    console.log(
      `${gigabytes} GB, ${tree.images * tree.layers} layers of ${tree.images} images, half of them untagged: ` +
        `look ${look.seconds} s, ${look.mib} MiB; collection ${collection.seconds} s, ${collection.mib} MiB of ${LIMIT / 2 ** 20} MiB`,
    );
    expect(collection.mib * 2 ** 20).toBeLessThan(LIMIT / 2);
    expect(look.mib * 2 ** 20).toBeLessThan(LIMIT / 2);
  },
);

/** Runs the script; the most memory that it and all that it started had at a time, beside the registry that goes on. */
async function measured(args: string[]): Promise<{ said: string; seconds: number; mib: number }> {
  const began = Date.now();
  const collection = pod.startCollection(args);
  let [most, running] = [0, true];
  collection.finally(() => {
    running = false;
  });
  for (; running; await sleep(50)) most = Math.max(most, await pod.memoryOfFamily(collection.pid));
  const { all, exitCode } = await collection;
  expect(exitCode, all).toBe(0);
  return { said: all, seconds: Math.round((Date.now() - began) / 100) / 10, mib: Math.round(most / 2 ** 20) };
}

/** Images as the registry stores them; every second one has a tag. Their layers are holes: no collector reads them. */
async function plant({ images, layers, layerBytes }: Tree): Promise<void> {
  const numbers = Array.from({ length: images }, (_, number) => number);
  await pMap(numbers, (number) => plantImage(number, layers, layerBytes), { concurrency: 32 });
}

async function plantImage(number: number, layers: number, layerBytes: number): Promise<void> {
  const repository = `${root}/repositories/team/app-${number % 40}`;
  const config = JSON.stringify({ architecture: "amd64", os: "linux", created: number });
  const names = Array.from({ length: layers }, (_, layer) => sha256(`layer ${number} ${layer}`));
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: sha256(config), size: config.length },
    layers: names.map((digest) => ({
      mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
      digest,
      size: layerBytes,
    })),
  });
  for (const digest of names) await store(dataOf(digest), "", layerBytes);
  await store(dataOf(sha256(config)), config);
  await store(dataOf(sha256(manifest)), manifest);
  for (const digest of [...names, sha256(config)]) await store(`${repository}/_layers/${inPath(digest)}/link`, digest);
  await store(`${repository}/_manifests/revisions/${inPath(sha256(manifest))}/link`, sha256(manifest));
  if (number % 2 === 1) return;
  const tag = `${repository}/_manifests/tags/${number}`;
  await store(`${tag}/current/link`, sha256(manifest));
  await store(`${tag}/index/${inPath(sha256(manifest))}/link`, sha256(manifest));
}

const inPath = (digest: string) => digest.replace(":", "/");
const dataOf = (digest: string) => `${root}/blobs/sha256/${digest.slice(7, 9)}/${digest.slice(7)}/data`;

async function store(path: string, content: string, length?: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
  if (length === undefined) return;
  const file = await open(path, "r+");
  await file.truncate(length);
  await file.close();
}
