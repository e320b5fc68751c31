import { mkdtemp, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Refused, RegistryClient } from "../integration/client.ts";
import { describeWith } from "../optional.ts";
import { deployStack, inRegistry, kubectl, lab, removeStack, type TestStack, until, within } from "./cluster.ts";
import { ociIndex } from "./images.ts";
import { deployLocalStack, removeLocalStack, type TestLocalStack } from "./localstack.ts";
import { pulledDigest, Skopeo } from "./skopeo.ts";

const HOMECLOUD = new URL("../../cli/bin/homecloud", import.meta.url).pathname;

/** What docs/operations.md promises: so long after a command was killed, writes are open again. */
const REOPENED_AFTER = 30;

/** One deployment that is saved and emptied, and the registry of another. */
describeWith("localstack-persist", "backup and restore", () => {
  const name = "backup";
  let from: TestLocalStack;
  let fromRegistry: TestStack;
  let other: TestStack;
  let writer: RegistryClient;
  let folder: string;

  beforeAll(async () => {
    from = await deploy();
    fromRegistry = await registryOf(from);
    other = await deployStack("backup-other", 30864, { storage: "256Mi" });
    // The other's would not do: both are called the same, and this machine's TLS would take the first.
    setDefaultCACertificates([...getCACertificates("default"), from.outputs.caCertificate]);
    const { registryUrl, registryUser, registryPassword } = from.outputs;
    writer = new RegistryClient(registryUrl, { name: registryUser, password: registryPassword });
    folder = await mkdtemp(join(tmpdir(), "homecloud-backup-"));
    await from.laptop.program("furnish", [name]);
    await from.laptop.program("journal", [name, "3"]);
  }, 900_000);
  afterAll(async () => {
    if (other) await removeStack(other);
    await removeLocalStack(from);
  });

  const deploy = () => deployLocalStack(name, 30860, { edition: "community", storage: "1Gi" });
  const env = { ...process.env, KUBECONFIG: lab.kubeconfig };
  const of = (stack: TestStack) => ["--namespace", stack.namespace];
  const homecloud = (...args: string[]) => execa(HOMECLOUD, args, { env, reject: false });
  const digestOf = async (stack: TestStack, image: string) => {
    const { folder: pulled, exitCode, stderr } = await new Skopeo(stack).pull(image, "--all");
    expect(exitCode, stderr).toBe(0);
    return await pulledDigest(pulled);
  };
  const isWritable = () => writer.takesWrites();

  test("a pipe takes a registry into another, while pushes and pulls go on", async () => {
    const index = await ociIndex();
    const pushed = await new Skopeo(fromRegistry).push(`oci:${index.folder}:1.0`, "multi/app:1.0", "--all");
    expect(pushed.exitCode, pushed.stderr).toBe(0);
    const tags = {
      "app:1.0": await writer.pushImage("app", "1.0", 10_000_000),
      "app:2.0": await writer.pushImage("app", "2.0"),
    };

    const pipe = execa(
      "sh",
      [
        ...["-c", '"$0" backup --only registry -n "$1" - | "$0" restore --yes -n "$2" -'],
        ...[HOMECLOUD, fromRegistry.namespace, other.namespace],
      ],
      { env, reject: false },
    );
    let running = true;
    const acknowledged = new Map<string, string>();
    let refused = 0;
    const pushes = (async () => {
      for (let number = 0; running; number++, await sleep(200)) {
        try {
          acknowledged.set(`${number}`, await writer.pushImage("busy", `${number}`));
        } catch (error) {
          expect((error as Refused).status, `${error}`).toBe(503);
          refused += 1;
        }
      }
    })();
    const pulls = (async () => {
      for (; running; await sleep(200)) expect(await writer.pullImage("app", "2.0")).toBe(tags["app:2.0"]);
    })();
    const { exitCode, stderr, stdout } = await pipe;
    running = false;
    await Promise.all([pushes, pulls]);
    expect(exitCode, stderr).toBe(0);
    console.log(`${acknowledged.size} pushes meanwhile, ${refused} were refused\n${stderr}\n${stdout}`);
    expect(acknowledged.size).toBeGreaterThan(0);
    expect(await digestOf(other, "multi/app:1.0")).toBe(index.digest);
    for (const [image, digest] of Object.entries(tags)) expect(await digestOf(other, image)).toBe(digest);
    for (const [tag, digest] of acknowledged) expect(await writer.pullImage("busy", tag)).toBe(digest);
  });

  test("a backup brings images, objects, messages and items back into an emptied deployment", {
    timeout: 900_000,
  }, async () => {
    const digest = await digestOf(fromRegistry, "multi/app:1.0");
    const before = await from.laptop.program("read-journal", [name]);
    const saved = await homecloud("backup", ...of(fromRegistry), "--yes", folder);
    expect(saved.exitCode, saved.stderr).toBe(0);
    console.log(`${saved.stdout}\n${saved.stderr}`);
    const [file = ""] = (await readdir(folder)).map((each) => join(folder, each));
    expect((await stat(file)).mode & 0o777).toBe(0o600);

    await empty();
    const restored = await homecloud("restore", ...of(fromRegistry), "--yes", file);
    expect(restored.exitCode, restored.stderr).toBe(0);
    console.log(`${restored.stdout}\n${restored.stderr}`);
    expect(await digestOf(fromRegistry, "multi/app:1.0")).toBe(digest);
    await until(
      async () => sorted(await from.laptop.program("read-journal", [name])) === sorted(before),
      90,
      "all is back",
    );
  });

  test("a backup that is killed leaves writes open, and LocalStack to the next one", { timeout: 900_000 }, async () => {
    await until(isWritable, 60, "writes are open");
    const command = homecloud("backup", ...of(fromRegistry), "--yes", folder);
    await until(async () => (await replicas()) === "0", 120, "LocalStack is scaled to 0");
    command.kill("SIGKILL");
    await command;
    const killed = Date.now();
    await within(isWritable, REOPENED_AFTER, "writes are back");
    console.log(`writes back ${Date.now() - killed} ms after the kill`);
    // Its pod, if there was one yet, ends by itself.
    const next = () => homecloud("backup", ...of(fromRegistry), "--yes", "--only", "localstack", folder);
    await until(async () => (await next()).exitCode === 0, 400, "the next one mends it");
    expect(await replicas()).toBe("1");
    expect((await readdir(folder)).filter((each) => each.endsWith(".part"))).toHaveLength(1);
  });

  test("mistakes are told in a sentence", async () => {
    const small = await homecloud("restore", ...of(other), "--yes", "--only", "localstack", await aBackup());
    expect(small.exitCode).toBe(4);
    expect(small.stderr).toContain("the backup holds LocalStack, which is not deployed here");
    const none = join(folder, "none.tar");
    await writeFile(none, "<html>");
    expect((await homecloud("restore", ...of(other), "--yes", none)).stderr).toMatch(
      /none\.tar is no backup of homecloud's|is not whole/,
    );
    const half = join(folder, "half.part");
    await writeFile(half, (await readFile(await aBackup())).subarray(0, 300_000));
    const cut = await homecloud("restore", ...of(fromRegistry), "--yes", "--only", "registry", half);
    expect(cut.stderr).toContain("half.part is not whole");
    expect((await homecloud("backup", ...of(other), "/nowhere")).exitCode).toBe(4);
    expect((await homecloud("backup", ...of(fromRegistry), folder)).exitCode).toBe(2);
  });

  const aBackup = async () => join(folder, (await readdir(folder)).find((each) => each.endsWith(".tar")) ?? "");
  const replicas = () =>
    kubectl("-n", from.namespace, "get", "deploy", "localstack", "-o", "jsonpath={.spec.replicas}");

  /** Nothing is left in either: the registry's folder, LocalStack's claim. */
  async function empty(): Promise<void> {
    await inRegistry(fromRegistry.namespace, "sh", "-c", "rm -rf $VOLUME/docker");
    await kubectl("-n", from.namespace, "scale", "deployment/localstack", "--replicas=0");
    await kubectl("-n", from.namespace, "wait", "--for=delete", "pod", "--all", "--timeout=180s");
    await kubectl("-n", from.namespace, "delete", "pvc", "localstack-data");
    await deploy();
    await expect(from.laptop.program("read-journal", [name])).rejects.toThrow();
  }
});

async function registryOf({ outputs, laptop, name }: TestLocalStack): Promise<TestStack> {
  const caFile = laptop.env.AWS_CA_BUNDLE ?? "";
  return { namespace: `registry-${name}`, outputs, caFile, caFolder: dirname(caFile) };
}

function sorted(journal: string): string {
  const parts = Object.entries(JSON.parse(journal) as Record<string, number[]>);
  return JSON.stringify(parts.map(([part, numbers]) => [part, numbers.toSorted((one, other) => one - other)]));
}
