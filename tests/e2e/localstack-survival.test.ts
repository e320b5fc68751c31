import { mkdtemp, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LOST_AT_MOST } from "../../components/localstack/environment.ts";
import { containerdSocket, storageDir } from "../../lab/paths.ts";
import { describeWith } from "../optional.ts";
import { kubectl, lab, until } from "./cluster.ts";
import { deployLocalStack, localstackPod, metricsPage, removeLocalStack, type TestLocalStack } from "./localstack.ts";

interface Journal {
  objects: number[];
  messages: number[];
  items: number[];
}

/** A number that journal.ts has written, or why it ended. */
type Line = { number: number; at: number } | { failed: string; at: number };

describeWith("localstack-persist", "LocalStack's data, in the edition that keeps it", () => {
  let stack: TestLocalStack;

  beforeAll(async () => {
    stack = await deployLocalStack("kept", 30640, { edition: "community", storage: "1Gi" });
    await stack.laptop.program("furnish", ["kept"]);
    expect(await write("kept", 3)).not.toHaveLength(0);
  });
  afterAll(() => removeLocalStack(stack));

  /** Lets the journal be written for some seconds; returns what was acknowledged, and when. */
  async function write(name: string, seconds: number): Promise<Line[]> {
    const text = await stack.laptop.program("journal", [name, String(seconds)]);
    return text.split("\n").map((line) => JSON.parse(line) as Line);
  }

  const read = async (name: string) => JSON.parse(await stack.laptop.program("read-journal", [name])) as Journal;

  const deploy = () => deployLocalStack("kept", 30640, { edition: "community", storage: "1Gi" });

  /** All that was there once is still there, and works: subscription and all. */
  async function expectWhole(before: Journal): Promise<void> {
    const now = await read("kept");
    for (const part of ["objects", "messages", "items"] as const)
      expect(new Set(now[part]), part).toEqual(new Set(before[part]));
  }

  test("everything survives a deleted pod", async () => {
    const before = await read("kept");
    const { metadata } = await localstackPod(stack.namespace);
    const begun = performance.now();
    await kubectl("-n", stack.namespace, "delete", "pod", metadata.name);
    const ended = performance.now();
    await deploy();
    console.log(`saved and ended in ${seconds(begun, ended)}, back after another ${seconds(ended)}`);

    expect((await localstackPod(stack.namespace)).metadata.uid).not.toBe(metadata.uid);
    expect(before.objects.length).toBeGreaterThan(5);
    await expectWhole(before);
    expect(await stack.laptop.program("publish", ["kept"])).toBe("kept: hello");
  });

  test("a kill in the middle of writes costs the last seconds, and never a start", { timeout: 600_000 }, async () => {
    const kept = await read("kept");
    for (let round = 1; round <= 3; round++) {
      const name = `cut-${round}`;
      await stack.laptop.program("furnish", [name]);
      await write(name, 1);
      await sleep(LOST_AT_MOST * 1000);
      const pending = write(name, 60);
      // At another moment of the interval each time.
      await sleep(LOST_AT_MOST * 1000 + round * 1700);
      const before = await restarts(stack.namespace);
      await kill(stack.namespace);
      const lines = await pending;
      const killed = lines.at(-1)?.at ?? 0;
      await until(async () => (await restarts(stack.namespace)) > before, 180, "LocalStack was started again");
      await deploy();

      const due = lines.filter((line) => "number" in line && line.at < killed - LOST_AT_MOST * 1000).length;
      const found = await read(name);
      console.log(
        `round ${round}: ${lines.length - 1} acknowledged, ${due} of them over ${LOST_AT_MOST} s before the kill; there are ` +
          `${found.objects.length} objects, ${found.messages.length} messages, ${found.items.length} items`,
      );
      expect(due).toBeGreaterThan(10);
      for (const part of ["objects", "messages", "items"] as const) {
        const there = new Set(found[part]);
        const lost = Array.from({ length: due }, (_, number) => number).filter((number) => !there.has(number));
        expect(lost, `${part} lost although they were due`).toEqual([]);
      }
      await expectWhole(kept);
    }
  });

  test("an upload that breaks off leaves the object as it was", async () => {
    const url = `${stack.outputs.awsEnvironment.AWS_ENDPOINT_URL}/kept-uploads/file`;
    const large = join(await mkdtemp(join(tmpdir(), "homecloud-upload-")), "large");
    await writeFile(large, Buffer.alloc(64 * 2 ** 20, "new "));
    const curl = (...args: string[]) =>
      stack.laptop.run("curl", ["--silent", "--cacert", stack.laptop.env.AWS_CA_BUNDLE ?? "", ...args, url]);
    await curl("--request", "PUT", "--url", url.replace(/\/file$/, "/"));
    await curl("--request", "PUT", "--data-binary", "the old content");

    const cut = await curl("--upload-file", large, "--limit-rate", "10M", "--max-time", "2");
    expect(cut.exitCode, "curl ended for its time limit").toBe(28);
    await sleep(1000);
    expect((await curl()).stdout).toBe("the old content");

    await curl("--upload-file", large);
    expect((await curl("--head")).stdout).toMatch(/^content-length: 67108864\r?$/im);
  });

  test("a state file that is cut off is put right from its copy, and that is told", async () => {
    const kept = await read("kept");
    await sleep(LOST_AT_MOST * 1000);
    await kubectl("-n", stack.namespace, "scale", "deployment/localstack", "--replicas=0");
    await kubectl("-n", stack.namespace, "wait", "--for=delete", "pod", "--all", "--timeout=120s");
    const state = await stateFiles(stack.namespace);
    expect(state.map((path) => path.split("/").slice(-2).join("/"))).toEqual(
      expect.arrayContaining(["s3/store.json", "sqs/store.json"]),
    );
    for (const path of state.filter((path) => path.endsWith("/store.json")))
      await truncate(path, Math.floor((await readFile(path)).length / 2));
    await kubectl("-n", stack.namespace, "scale", "deployment/localstack", "--replicas=1");
    await kubectl("-n", stack.namespace, "rollout", "status", "deployment/localstack", "--timeout=120s");
    const log = await kubectl("-n", stack.namespace, "logs", "deploy/localstack", "-c", "localstack");
    expect(log).toMatch(/s3\/store\.json was damaged .*as it was/);
    expect(await metricsPage(stack.namespace, "/metrics")).toMatch(/^homecloud_localstack_state_mended [1-9]/m);
    await deploy();
    await expectWhole(kept);
  });
});

const seconds = (from: number, to = performance.now()) => `${((to - from) / 1000).toFixed(1)} s`;

/** Ends everything in LocalStack's container at once, as a power cut does. */
async function kill(namespace: string): Promise<void> {
  const { status } = await localstackPod(namespace);
  const { containerID = "" } = status.containerStatuses.find(({ name }) => name === "localstack") ?? {};
  const ctr = ["--address", containerdSocket, "--namespace", "k8s.io"];
  await execa(lab.bin("ctr"), [
    ...ctr,
    "task",
    "kill",
    "--all",
    "--signal",
    "SIGKILL",
    containerID.replace("containerd://", ""),
  ]);
}

async function restarts(namespace: string): Promise<number> {
  const { status } = await localstackPod(namespace);
  return status.containerStatuses.find(({ name }) => name === "localstack")?.restartCount ?? 0;
}

/** Files of localstack-persist on the node's disk. */
async function stateFiles(namespace: string): Promise<string[]> {
  const volumes = await readdir(storageDir);
  const volume = volumes.find((name) => name.includes(`_${namespace}_localstack-data`));
  if (!volume) throw new Error(`there is no volume of ${namespace} in ${storageDir}`);
  const files = await readdir(join(storageDir, volume), { recursive: true });
  return files
    .filter((path) => /(store|backend)\.json$/.test(path) && !path.startsWith("kept"))
    .map((path) => join(storageDir, volume, path));
}
