import { PassThrough, Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { execa } from "execa";
import pMap from "p-map";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { repeated } from "../full-run.ts";
import { Refused, RegistryClient } from "../integration/client.ts";
import { HOMECLOUD } from "../integration/cluster-stand-in.ts";
import {
  deployStack,
  inRegistry,
  kubectl,
  lab,
  registryPod,
  removeStack,
  type TestStack,
  until,
  within,
} from "./cluster.ts";
import { ARRIVED, addBlobs, addManifests, collectAndKill, kill, PROCESSES, STEPS, told } from "./collection.ts";
import { ociIndex } from "./images.ts";
import { pulledDigest, Skopeo } from "./skopeo.ts";

/** What docs/operations.md promises: so long after a collection has ended, or was told to, writes are back. */
const REOPENED_AFTER = 10;

const ROUNDS = repeated("rounds of garbage collection under load", { full: 20, byDefault: 4 });
const AT_ONCE = 50;

let stack: TestStack;
let writer: RegistryClient;
let puller: RegistryClient;

beforeAll(async () => {
  stack = await deployStack("gc", 30740, { storage: "2Gi", reserve: "128Mi" });
  const { registryUrl, registryUser, registryPassword, registryPullUser, registryPullPassword, caCertificate } =
    stack.outputs;
  setDefaultCACertificates([...getCACertificates("default"), caCertificate]);
  writer = new RegistryClient(registryUrl, { name: registryUser, password: registryPassword });
  puller = new RegistryClient(registryUrl, { name: registryPullUser, password: registryPullPassword });
});
afterAll(() => stack && removeStack(stack));

/** `homecloud gc` as a person types it; on the error stream its progress. */
function gc(...args: string[]) {
  return execa(HOMECLOUD, ["gc", "--namespace", stack.namespace, ...args], {
    env: { ...process.env, KUBECONFIG: lab.kubeconfig },
    reject: false,
  });
}

const inPod = (script: string) => inRegistry(stack.namespace, "sh", "-c", script);

const isWritable = () => writer.takesWrites();
const writesAreBack = (seconds: number, why: string) => within(isWritable, seconds, `writes are back: ${why}`);

/** Pushes until it is acknowledged. Returns the digest, and how often a collection came in between. */
async function push(repository: string, tag: string): Promise<{ digest: string; refused: number }> {
  for (let refused = 0; ; refused++) {
    try {
      return { digest: await writer.pushImage(repository, tag, 20_000), refused };
    } catch (error) {
      // Any other is printed with its cause.
      if (!(error instanceof Refused)) throw error;
      // 503: held. 404 and 400: the collection came between the push's layers and its manifest.
      expect([503, 404, 400], error.message).toContain(error.status);
      await writesAreBack(60, "for the push's retry");
    }
  }
}

test("what it frees, with and without a dry run, for people and for scripts", async () => {
  await writer.pushImage("app", "latest", 20 * 2 ** 20);
  const kept = await writer.pushImage("app", "latest");
  await inPod("find $VOLUME -path '*_manifests/revisions*' -name link -exec touch -d '2001-01-01 00:00' {} +");

  const told = await gc("--dry-run", "--untagged", "--json");
  expect(told.exitCode, told.stderr).toBe(0);
  expect(JSON.parse(told.stdout)).toMatchObject({ dryRun: true, untaggedOlderThan: "24h", manifests: 1, blobs: 3 });
  expect(await isWritable()).toBe(true);

  const done = await gc("--untagged");
  expect(done.exitCode, done.stderr).toBe(0);
  expect(done.stdout).toMatch(
    /^freed 20(\.\d)? MiB: 1 untagged manifest, 3 blobs, \d+ abandoned uploads?; .* pushes waited \d+ s$/,
  );
  expect(done.stderr).toContain("Mark what is in use");
  await writesAreBack(REOPENED_AFTER, "it has ended");
  expect(await puller.pullImage("app", "latest")).toBe(kept);
});

test(`rounds of ${AT_ONCE} pushes and ${AT_ONCE} pulls while it runs: no pull fails, every acknowledged tag is whole, a multi-arch push that was cut completes on retry`, {
  timeout: 900_000,
  ...ROUNDS.options,
}, async () => {
  const kept = await pMap([0, 1, 2, 3, 4], (number) => writer.pushImage("kept", `${number}`, 100_000));
  const acknowledged = new Map<string, { repository: string; tag: string; digest: string }>();
  const met = { pushes: 0, cut: 0 };
  for (let round = 0; round < ROUNDS.count; round++) {
    const multiArch = await beginIndex(`${round}`);
    const collection = gc("--untagged");
    const readOnly = told(collection, "holding").then(() => until(async () => !(await isWritable()), 30, "read-only"));
    await Promise.all([
      staggered(async (number) => {
        const [repository, tag] = [`app-${number % 7}`, `${round}-${number}`];
        const { digest, refused } = await push(repository, tag);
        met.pushes += refused;
        acknowledged.set(`${repository}:${tag}`, { repository, tag, digest });
      }),
      staggered(async (number) => {
        expect(await puller.pullImage("kept", `${number % 5}`)).toBe(kept[number % 5]);
      }),
      readOnly.then(async () => {
        met.cut += await multiArch.end();
      }),
    ]);
    const { exitCode, stderr } = await collection;
    expect(exitCode, stderr).toBe(0);
  }
  await pMap(
    acknowledged.values(),
    async ({ repository, tag, digest }) => expect(await puller.pullImage(repository, tag)).toBe(digest),
    { concurrency: 16 },
  );
  const { count } = ROUNDS;
  expect(acknowledged.size).toBe(count * AT_ONCE);
  console.log(
    `${count} collections: of ${count * AT_ONCE} pushes ${met.pushes} met one and were pushed again; of ${count} multi-arch pushes ${met.cut} were cut in the middle`,
  );
  expect(met.pushes).toBeGreaterThan(0);
  expect(met.cut).toBeGreaterThan(0);
});

/** So many of them at once, begun over five seconds. */
const staggered = (work: (number: number) => Promise<void>) =>
  Promise.all(
    Array.from({ length: AT_ONCE }, async (_, number) => {
      await sleep(number * 100);
      await work(number);
    }),
  );

/**
 * Pushes the first of an image's two architectures. `end` pushes the whole image until that works, and pulls it; returns how
 * often it was refused with a part of it in the registry.
 */
async function beginIndex(tag: string): Promise<{ end(): Promise<number> }> {
  const index = await ociIndex();
  const [repository, source] = [`multi/app-${tag}`, `oci:${index.folder}:1.0`];
  const skopeo = new Skopeo(stack);
  const begun = await skopeo.push(source, repository, "--override-arch", "amd64");
  expect(begun.exitCode, begun.stderr).toBe(0);
  const pushUntilTaken = async () => {
    for (let cut = 0; ; cut++) {
      const { exitCode, stderr } = await skopeo.push(source, repository, "--all");
      if (exitCode === 0) return cut;
      // The last are skopeo's words for an index that was refused, whatever the reason: it tries its other form then.
      expect(stderr).toMatch(/garbage is being collected|unknown|503|404|list must be converted/);
      await writesAreBack(60, "for the index");
    }
  };
  const end = async () => {
    const cut = await pushUntilTaken();
    const pulled = await new Skopeo(stack, "puller").pull(repository, "--all");
    expect(pulled.exitCode, pulled.stderr).toBe(0);
    expect(await pulledDigest(pulled.folder)).toBe(index.digest);
    return cut;
  };
  return { end };
}

describe("however it ends, at whatever step, writes come back", () => {
  beforeAll(() => inPod(addManifests(2000)));

  test.each(STEPS)("Ctrl-C, %s: the collection in the pod ends too", async (step) => {
    await inPod(addBlobs(2000));
    const upload = step === "waiting" ? await uploadUnderWay() : undefined;
    const command = gc("--untagged");
    await told(command, step);
    command.kill("SIGINT");
    const asked = Date.now();
    const { exitCode, stderr } = await command;
    const took = Date.now() - asked;
    await upload?.end();
    expect(exitCode, stderr).toBe(1);
    expect(stderr).toContain("ended before its time; what it has freed stays freed");
    await writesAreBack(REOPENED_AFTER, `Ctrl-C, ${step}`);
    console.log(`Ctrl-C, ${step}: ended after ${took} ms, writes were back after ${Date.now() - asked} ms`);
  });

  test.each(STEPS)("a command that is killed, %s, leaves a collection that ends by itself", async (step) => {
    await inPod(addBlobs(500));
    const upload = step === "waiting" ? await uploadUnderWay() : undefined;
    const command = gc("--untagged");
    await told(command, step);
    command.kill("SIGKILL");
    await command;
    await upload?.end();
    await until(async () => (await inPod(PROCESSES)) === "", 60, "the collection has ended");
    await writesAreBack(REOPENED_AFTER, `killed, ${step}`);
  });

  test.each([
    ...STEPS.map((step) => ["collect-garbage", step] as const),
    ["garbage-collect ", "mark"] as const,
    ["garbage-collect ", "sweep"] as const,
  ])("%s killed in the pod, %s", async (victim, step) => {
    await inPod(addBlobs(500));
    const upload = step === "waiting" ? await uploadUnderWay() : undefined;
    const said = await inPod(collectAndKill(victim, step));
    await upload?.end();
    expect(said).toMatch(ARRIVED[step]);
    expect(said).not.toContain('"step":"done"');
    await until(async () => (await inPod(PROCESSES)) === "", 60, "the collection has ended");
    await writesAreBack(REOPENED_AFTER, `${victim} killed, ${step}`);
  });

  test("the command tells of a script that was killed, and the next one does its work", async () => {
    await inPod(addBlobs(2000));
    const command = gc("--untagged");
    await told(command, "sweep");
    await inPod(kill("collect-garbage"));
    const { exitCode, stderr } = await command;
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^homecloud: the collection was killed/m);
    await until(async () => (await inPod(PROCESSES)) === "", 60, "the collection has ended");
    const after = await gc("--untagged");
    expect(after.exitCode, after.stderr).toBe(0);
  });

  test("--stop ends what a lost client has left", async () => {
    await inPod(addBlobs(4000));
    const command = gc();
    await told(command, "sweep");
    command.kill("SIGKILL");
    const stopped = await gc("--stop");
    expect(stopped.exitCode, stopped.stderr).toBe(0);
    await writesAreBack(REOPENED_AFTER, "--stop");
    // The lock is the collector's; the shell beside it ends a moment later.
    await within(async () => (await inPod(PROCESSES)) === "", REOPENED_AFTER, "nothing of it is left");
  });
});

test("two at once: the second says so, and the first goes on", async () => {
  const upload = await uploadUnderWay();
  const first = gc();
  await told(first, "waiting");
  const second = await gc();
  expect(second.exitCode).toBe(1);
  expect(second.stderr).toContain("a collection is already running");
  await upload.end();
  const { exitCode, stderr } = await first;
  expect(exitCode, stderr).toBe(0);
});

test("without a pod it says so", async () => {
  await kubectl("-n", stack.namespace, "scale", "deployment/registry", "--replicas=0");
  await kubectl("-n", stack.namespace, "wait", "--for=delete", "pod", "--all", "--timeout=60s");
  const away = await gc();
  expect(away.exitCode).toBe(3);
  expect(away.stderr.trim()).toBe(
    `homecloud: the registry in ${stack.namespace} has no pod: is it scaled to 0? See homecloud status`,
  );
  await kubectl("-n", stack.namespace, "scale", "deployment/registry", "--replicas=1");
  await registryPod(stack.namespace);
});

/** An upload that goes on until it is told to end: whoever waits for writers waits for it. */
async function uploadUnderWay(): Promise<{ end(): Promise<void> }> {
  const { location } = await writer.beginUpload("slow");
  const body = new PassThrough();
  body.write("begun");
  const options = { method: "PATCH", body: Readable.toWeb(body), duplex: "half" } as RequestInit;
  const answer = writer.request(location, options);
  return {
    end: async () => {
      body.end();
      await answer;
    },
  };
}
