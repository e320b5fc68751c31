import { request } from "node:http";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { podTools, testTools } from "../tools.ts";
import { basic, errorOf, OCI_MANIFEST, Refused, RegistryClient } from "./client.ts";
import { Pod, WRITER } from "./pod.ts";

const MIB = 2 ** 20;
const LIMIT = 160 * MIB;
const RESERVE = 32 * MIB;

let pod: Pod;
let client: RegistryClient;

beforeAll(async () => {
  pod = await Pod.start(await podTools(await testTools()), { quota: { limitBytes: LIMIT, reserveBytes: RESERVE } });
  client = new RegistryClient(pod.url, WRITER);
});
afterAll(() => pod?.stop());

/** Until the next measurement has been told. */
const measured = () => sleep(2500);

describe("a full registry", () => {
  let kept: string;
  let large: string;

  test("refuses new uploads with used, limit and remedy", async () => {
    kept = await client.pushImage("kept", "1", 2 * MIB);
    large = await client.pushImage("large", "1", LIMIT - RESERVE);
    await measured();
    const { answer } = await client.beginUpload("more");
    expect(answer.status).toBe(403);
    const error = await errorOf(answer);
    expect(error).toMatchObject({ code: "DENIED", detail: { limit: LIMIT } });
    expect(error?.message).toMatch(
      /storage is full: 13\d\.\d MiB of 160\.0 MiB are used .* free their space with: collect-garbage/,
    );
  });

  test("lets what was begun end, and tells strangers nothing of it", async () => {
    const manifest = await (await client.request("/v2/kept/manifests/1", { headers: { accept: OCI_MANIFEST } })).text();
    expect((await client.putManifest("kept", "2", manifest)).status).toBe(201);
    expect((await new RegistryClient(pod.url, { ...WRITER, password: "x" }).beginUpload("more")).answer.status).toBe(
      401,
    );
  });

  test("goes on with pulls", async () => {
    expect(await client.pullImage("kept", "1")).toBe(kept);
    expect(await client.pullImage("large", "1")).toBe(large);
  });

  test("takes pushes again after a delete and a collection", async () => {
    expect((await client.deleteManifest("large", large)).status).toBe(202);
    const { all, exitCode } = await pod.collectGarbage();
    expect(exitCode, all).toBe(0);
    expect(all).toMatch(/freed 12[78] MiB/);
    await measured();
    await client.pushImage("more", "1");
    expect(await client.pullImage("kept", "1")).toBe(kept);
  });
});

describe("20 chunked uploads without a length when the limit is reached", () => {
  test("are cut at the limit; no more is on disk than what arrives in two measurements", async () => {
    const perSecond = 1.5 * MIB;
    const before = await pod.usedBytes();
    const begun = performance.now();
    const ends = await Promise.all(Array.from({ length: 20 }, (_, i) => endlessUpload(`chunked-${i}`, perSecond)));
    const seconds = (performance.now() - begun) / 1000;
    const used = await pod.usedBytes();

    const rate = (used - before) / seconds;
    console.log(
      `limit ${LIMIT / MIB} MiB, on disk ${(used / MIB).toFixed(1)} MiB, ${(rate / MIB).toFixed(1)} MiB/s arrived`,
    );
    expect(used).toBeLessThan(LIMIT + 2 * rate);
    expect(used, "uploads under way may use the whole reserve").toBeGreaterThanOrEqual(LIMIT);
    const told = ends.filter(({ status }) => status === 403);
    expect(ends.filter(({ status }) => status !== 403 && status !== undefined)).toEqual([]);
    expect(told.length, "most clients are told why").toBeGreaterThan(10);
    for (const { body } of told)
      expect(JSON.parse(body).errors[0]).toMatchObject({ code: "DENIED", detail: { limit: LIMIT } });
  });

  test("leave no broken image, and go with the next collection", async () => {
    const { repositories } = (await (await client.request("/v2/_catalog")).json()) as { repositories: string[] };
    for (const repository of repositories) {
      const tags = await client.request(`/v2/${repository}/tags/list`);
      const { tags: names } = (await tags.json()) as { tags?: string[] | null };
      for (const tag of names ?? []) await client.pullImage(repository, tag);
    }
    expect(await fetch(`http://127.0.0.1:${pod.layout.metricsPort}/metrics`).then((answer) => answer.text())).toMatch(
      /^homecloud_registry_uploads 20$/m,
    );
    const { all, exitCode } = await pod.collectGarbage();
    expect(exitCode, all).toBe(0);
    await measured();
    expect(await pod.usedBytes()).toBeLessThan(10 * MIB);
    await client.pushImage("after", "1");
  });

  test("a retry that finds the registry full is told so", async () => {
    await client.pushImage("filler", "1", LIMIT - RESERVE);
    await measured();
    await expect(client.pushImage("again", "1")).rejects.toThrow(Refused);
    await expect(client.pushImage("again", "1")).rejects.toMatchObject({ status: 403, error: { code: "DENIED" } });
  });
});

test("a node whose disk runs low takes no new uploads, and says that it is the disk", async () => {
  const low = await Pod.start(await podTools(await testTools()), {
    quota: { limitBytes: 2 ** 40, keepFreeBytes: 2 ** 50 },
  });
  try {
    await measured();
    const { answer } = await new RegistryClient(low.url, WRITER).beginUpload("more");
    expect(answer.status).toBe(403);
    expect(await errorOf(answer)).toMatchObject({
      code: "DENIED",
      message: expect.stringMatching(/the node's disk has only [\d.]+ GiB left/),
    });
  } finally {
    await low.stop();
  }
});

/** How an upload ended: with an answer, or with nothing because the connection was cut. */
interface UploadEnd {
  status: number | undefined;
  body: string;
}

/** Streams zeros without a length until it is ended. */
async function endlessUpload(repository: string, bytesPerSecond: number): Promise<UploadEnd> {
  const { answer, location } = await client.beginUpload(repository);
  if (answer.status !== 202) return { status: answer.status, body: await answer.text() };
  return new Promise((resolve) => {
    const chunk = Buffer.alloc(bytesPerSecond / 20);
    const upload = request(new URL(location, pod.url), {
      method: "PATCH",
      headers: { ...basic(WRITER), "content-type": "application/octet-stream" },
    });
    const timer = setInterval(() => upload.write(chunk), 50);
    const end = (status: number | undefined, body = "") => {
      clearInterval(timer);
      clearTimeout(limit);
      upload.destroy();
      resolve({ status, body });
    };
    const limit = setTimeout(() => end(0), 60_000);
    upload.on("response", async (response) => {
      clearInterval(timer);
      end(response.statusCode, await text(response).catch(() => ""));
    });
    upload.on("error", () => end(undefined));
  });
}
