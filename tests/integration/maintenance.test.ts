import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { podTools, testTools } from "../tools.ts";
import { errorOf, RegistryClient } from "./client.ts";
import { Pod, WRITER } from "./pod.ts";

let pod: Pod;
let client: RegistryClient;

beforeAll(async () => {
  pod = await Pod.start(await podTools(await testTools()));
  client = new RegistryClient(pod.url, WRITER);
});
afterAll(() => pod?.stop());

const isWritable = () => client.takesWrites();

async function until(condition: () => Promise<boolean>, seconds: number): Promise<boolean> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(200)) if (await condition()) return true;
  return false;
}

test("while the lock is held, writes get 503 with Retry-After, pulls and logins go on; afterwards all works", async () => {
  const digest = await client.pushImage("kept", "1");
  const holder = pod.holdCollectorLock();
  expect(await until(async () => !(await isWritable()), 30)).toBe(true);

  const { answer } = await client.beginUpload("more");
  expect(answer.status).toBe(503);
  expect(answer.headers.get("retry-after")).toBe("30");
  expect(await errorOf(answer)).toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("garbage") });
  expect((await client.deleteManifest("kept", digest)).status).toBe(503);
  expect(await client.pullImage("kept", "1")).toBe(digest);

  holder.release();
  expect(await until(isWritable, 30)).toBe(true);
});

test("a collector that is killed cannot leave the registry closed", async () => {
  const holder = pod.holdCollectorLock();
  expect(await until(async () => !(await isWritable()), 30)).toBe(true);
  holder.kill();
  expect(await until(isWritable, 30)).toBe(true);
});

test("a walk over the volume that takes its time keeps nobody waiting: writes are held and given back in seconds", async () => {
  const slowWalk = 20;
  const large = await Pod.start(await podTools(await testTools()), { slowWalk });
  try {
    const isOpen = () => new RegistryClient(large.url, WRITER).takesWrites();
    expect(await until(isOpen, 60)).toBe(true);
    const { all, exitCode } = await large.collectGarbage();
    expect(exitCode, all).toBe(0);
    expect(Number(/pushes waited (\d+) s/.exec(all)?.[1])).toBeLessThan(slowWalk);
    expect(await until(isOpen, 30)).toBe(true);
  } finally {
    await large.stop();
  }
});

test("a client that goes away without reading leaves no collector behind that keeps the registry closed", async () => {
  await pod.addUnreferencedBlobs(3000);
  const client = pod.collectGarbageUnread();
  expect(await until(async () => !(await isWritable()), 30)).toBe(true);
  expect(await until(isWritable, 60)).toBe(true);
  client.kill("SIGKILL");
});

test("two collections at once: the second says so and changes nothing", async () => {
  const holder = pod.holdCollectorLock();
  await sleep(300);
  const { all, exitCode } = await pod.collectGarbage();
  holder.release();
  expect(exitCode).toBe(1);
  expect(all).toContain("a collection is already running");
});

test("a collection waits for pushes that are under way, and gives up without a change when they do not end", async () => {
  expect(await until(isWritable, 30)).toBe(true);
  const { location } = await client.beginUpload("slow");
  const slow = pod.slowUpload(location, WRITER);
  await sleep(1500);
  const { all, exitCode } = await pod.collectGarbage([], { DRAIN_SECONDS: "4" });
  expect(exitCode).toBe(1);
  expect(all).toContain("waiting for pushes to end: 1");
  expect(all).toContain("nothing was changed");
  slow.destroy();
  expect(await until(isWritable, 30)).toBe(true);
});

test("--dry-run tells what would go and removes nothing", async () => {
  const digest = await client.pushImage("doomed", "1", 2 ** 20);
  await client.deleteManifest("doomed", digest);
  const before = await pod.usedBytes();
  const { all, exitCode } = await pod.collectGarbage(["--dry-run"]);
  expect(exitCode, all).toBe(0);
  expect(all).toMatch(/would free 1 MiB: 0 untagged manifests, [1-9]\d* blobs/);
  expect(await pod.usedBytes()).toBeGreaterThanOrEqual(before);
});

test("health names its checks, and is no longer well when the registry is gone", async () => {
  expect(await (await fetch(`${pod.url}/healthz`)).json()).toMatchObject({
    status: "pass",
    checks: { registry: "pass", volume: "pass", login: "pass" },
  });
  await pod.kill("registry");
  expect(await until(async () => (await fetch(`${pod.url}/healthz`)).status === 503, 30)).toBe(true);
  expect(await (await fetch(`${pod.url}/healthz`)).json()).toMatchObject({
    status: "fail",
    checks: { registry: "fail", login: "pass" },
  });

  const answer = await client.request("/v2/kept/manifests/1");
  expect(answer.status).toBe(503);
  expect(await errorOf(answer)).toMatchObject({ code: "UNAVAILABLE" });
});

test("a gate that was killed starts again on what it has left", async () => {
  await pod.restart();
  await pod.kill("gate");
  pod.start("gate");
  await pod.untilHealthy();
  expect((await client.request("/v2/")).status).toBe(200);
});

test("a login check that starts after the gate leaves it its sockets: logins work", async () => {
  await pod.restart();
  await pod.kill("login");
  pod.start("login");
  // Unlike health, which asks the login check by itself, a login goes the whole way.
  await vi.waitFor(async () => expect((await client.request("/v2/")).status).toBe(200), { timeout: 5_000 });
});

test("whoever was in stays in while the login check is away", async () => {
  expect((await client.request("/v2/")).status).toBe(200);
  await pod.kill("login");
  expect((await client.request("/v2/")).status).toBe(200);
});

test("without the login check nobody gets in, and is told that it is not their password", async () => {
  await pod.restart();
  await pod.kill("login");
  const answer = await client.request("/v2/");
  expect(answer.status).toBe(503);
  expect(await errorOf(answer)).toMatchObject({ message: expect.stringContaining("login check") });
});
