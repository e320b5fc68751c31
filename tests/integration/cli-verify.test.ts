import { readdir, readFile, utimes } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { collectorEnvironment } from "../../components/registry/files.ts";
import type { Tools } from "../../lab/lab.ts";
import { podTools, testTools } from "../tools.ts";
import { RegistryClient, sha256 } from "./client.ts";
import { Pod, WRITER } from "./pod.ts";

const SCRIPT = new URL("../../cli/verify/forget.sh", import.meta.url).pathname;
const RUN = "1800000000-0badcafe";

let tools: Tools;
let busybox: string;
let pod: Pod;
let client: RegistryClient;

beforeAll(async () => {
  tools = await testTools();
  const found = await podTools(tools);
  busybox = found.busybox;
  pod = await Pod.start(found);
  client = new RegistryClient(pod.url, WRITER);
});
afterAll(() => pod?.stop());
afterEach(() => forget());

/** As `homecloud verify` runs it in the registry's container: from its standard input. */
async function forget(run = RUN) {
  return await execa(busybox, ["sh", "-s", "--", run], {
    input: await readFile(SCRIPT),
    env: { PATH: pod.path, ...collectorEnvironment(pod.layout) },
    extendEnv: false,
    reject: false,
  });
}

const registry = () => `${pod.layout.volume}/docker/registry/v2`;

/** Digests of all that is stored. */
async function blobs(): Promise<string[]> {
  const files = await readdir(`${registry()}/blobs`, { recursive: true }).catch(() => []);
  return files.filter((file) => file.endsWith("/data")).sort();
}

/** The gate hears a second or two later that nobody holds the lock any more. */
async function writesAreOpen(): Promise<void> {
  while ((await client.beginUpload("team/other")).answer.status !== 202) await sleep(200);
}

test("shellcheck has nothing to say", async () => {
  const { stdout, exitCode } = await execa(tools.bin("shellcheck"), [SCRIPT], { reject: false });
  expect(exitCode, stdout).toBe(0);
});

test("what a run has pushed is gone with its blobs, an upload under way too, and nothing else is touched", async () => {
  const kept = await client.pushImage("team/app", "1");
  const before = await blobs();
  await client.pushImage(`homecloud-verify/${RUN}`, "small");
  await client.pushImage(`homecloud-verify/${RUN}`, "large", 1_000_000);
  await client.beginUpload(`homecloud-verify/${RUN}`);
  expect((await blobs()).length).toBe(before.length + 6);

  const { exitCode, stderr } = await forget();
  expect(exitCode, stderr).toBe(0);
  expect(await blobs()).toEqual(before);
  expect(await readdir(`${registry()}/repositories`)).toEqual(["team"]);
  expect(await client.pullImage("team/app", "1")).toBe(kept);
});

test("what somebody has copied from there meanwhile stays theirs", async () => {
  const ours = `homecloud-verify/${RUN}`;
  await client.pushImage(ours, "small");
  const headers = { accept: "application/vnd.oci.image.manifest.v1+json" };
  const manifest = await (await client.request(`/v2/${ours}/manifests/small`, { headers })).text();
  const { config, layers } = JSON.parse(manifest) as Record<"config" | "layers", { digest: string }[]>;
  for (const { digest } of [config, layers].flat()) {
    const mount = `/v2/team/copy/blobs/uploads/?mount=${digest}&from=${ours}`;
    expect((await client.request(mount, { method: "POST" })).status).toBe(201);
  }
  expect((await client.putManifest("team/copy", "1", manifest)).status).toBe(201);

  expect((await forget()).exitCode).toBe(0);
  expect(await client.pullImage("team/copy", "1")).toBe(sha256(manifest));
  expect(await readdir(`${registry()}/repositories`)).not.toContain("homecloud-verify");
});

test("a killed run's goes once it is an hour old; a run that is under way, and what people call alike, stays", async () => {
  for (const name of ["1700000000-00000001", "1799999999-00000002", "mine"]) {
    await client.pushImage(`homecloud-verify/${name}`, "small");
  }
  const ours = `${registry()}/repositories/homecloud-verify`;
  const old = new Date(Date.now() - 61 * 60_000);
  for (const name of ["1700000000-00000001", "mine"]) await utimes(`${ours}/${name}`, old, old);

  expect((await forget()).exitCode).toBe(0);
  expect((await readdir(ours)).sort()).toEqual(["1799999999-00000002", "mine"]);
  await client.pullImage("homecloud-verify/mine", "small");
  await client.pullImage("homecloud-verify/1799999999-00000002", "small");
});

test("while a collection runs nothing is removed, and that is said", { timeout: 60_000 }, async () => {
  await client.pushImage(`homecloud-verify/${RUN}`, "small");
  const before = await blobs();
  const holder = pod.holdCollectorLock();
  const { exitCode, stderr } = await forget();
  holder.release();
  await writesAreOpen();

  expect(exitCode).toBe(1);
  expect(stderr).toContain("a garbage collection is running");
  expect(await blobs()).toEqual(before);
});

test("a collection finds nothing amiss afterwards, and writes are never held", async () => {
  await client.pushImage(`homecloud-verify/${RUN}`, "small");
  const removal = forget();
  expect((await client.beginUpload("team/other")).answer.status).toBe(202);
  expect((await removal).exitCode).toBe(0);
  const { all, exitCode } = await pod.collectGarbage(["--untagged"]);
  expect(exitCode, all).toBe(0);
});
