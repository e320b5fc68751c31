import { randomBytes } from "node:crypto";
import { get, type IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseBytes } from "../../config/quantity.ts";
import { configSchema } from "../../config/schema.ts";
import { podTools, testTools } from "../tools.ts";
import { basic, RegistryClient } from "./client.ts";
import { Pod, PULLER, WRITER } from "./pod.ts";

/** Many more than a home has: each with a client that does not read, or hardly writes. */
const CLIENTS = 150;

const { resources } = configSchema.parse({}).registry;
let pod: Pod;

beforeAll(async () => {
  pod = await Pod.start(await podTools(await testTools()));
});
afterAll(() => pod?.stop());

test("150 stalled pulls fit into half of the gate's memory limit", async () => {
  const digest = await new RegistryClient(pod.url, WRITER).pushBlob("large", randomBytes(8 * 2 ** 20));
  const stalled = await Promise.all(Array.from({ length: CLIENTS }, () => stalledPull(digest)));
  await sleep(2000);
  const memory = await pod.memoryOf("gate");
  console.log(`${CLIENTS} stalled pulls: gate ${mib(memory)} MiB`);
  for (const response of stalled) response.destroy();
  expect(memory).toBeLessThan(limit("gate") / 2);
});

test("150 uploads under way fit into half of the limits of gate and quota", async () => {
  const client = new RegistryClient(pod.url, WRITER);
  const uploads = [];
  for (let index = 0; index < CLIENTS; index++) {
    const { location } = await client.beginUpload(`uploads-${index}`);
    const upload = pod.slowUpload(location, WRITER);
    upload.write(Buffer.alloc(512 * 1024));
    uploads.push(upload);
  }
  await sleep(2000);
  const [gate, quota] = [await pod.memoryOf("gate"), await pod.memoryOf("quota")];
  console.log(`${CLIENTS} uploads under way: gate ${mib(gate)} MiB, quota ${mib(quota)} MiB`);
  for (const upload of uploads) upload.destroy();
  expect(gate).toBeLessThan(limit("gate") / 2);
  expect(quota).toBeLessThan(limit("quota") / 2);
});

/** A download whose answer has begun and is not read on. */
function stalledPull(digest: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = get(`${pod.url}/v2/large/blobs/${digest}`, { headers: basic(PULLER), agent: false }, (response) => {
      response.pause();
      resolve(response);
    });
    request.on("error", reject);
  });
}

const limit = (container: "gate" | "quota") => parseBytes(resources[container].limits.memory) ?? 0;
const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
