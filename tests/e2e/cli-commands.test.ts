import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildProgram } from "../../cli/homecloud.ts";
import { dnsmasqLines, dnsRecords } from "../../components/dns-records.ts";
import { PROJECT } from "../../config/project.ts";
import { RegistryClient } from "../integration/client.ts";
import { HOMECLOUD } from "../integration/cluster-stand-in.ts";
import {
  apply,
  deployStack,
  inRegistry,
  kubectl,
  lab,
  registryPod,
  removeNamespaces,
  type TestStack,
  until,
} from "./cluster.ts";
import { ociIndex } from "./images.ts";
import { Laptop } from "./laptop.ts";
import { Skopeo } from "./skopeo.ts";

const PORT = 30850;
const AWS = { namespace: "localstack-commands", host: "commands.aws.test", port: PORT + 1 };

/** What a volume takes beside the bytes of its files: folders, and the rest of a block. */
const BLOCKS = 128 * 1024;
const MIB = 2 ** 20;

let stack: TestStack;
let home: string;
let writer: RegistryClient;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "homecloud-home-"));
  const localstack = {
    ...{ ...AWS, edition: "ephemeral", lambda: { mode: "none" } },
    ...{ storage: "512Mi", reserve: "64Mi", keepFree: "64Mi", keepDataOnDestroy: false },
  };
  stack = await deployStack(
    "commands",
    PORT,
    { keepDataOnDestroy: false },
    { [`${PROJECT}:localstack`]: JSON.stringify(localstack), [`${PROJECT}:clusterNames`]: "none" },
  );
  const { registryUrl, registryUser, registryPassword, caCertificate } = stack.outputs;
  setDefaultCACertificates([...getCACertificates("default"), caCertificate]);
  writer = new RegistryClient(registryUrl, { name: registryUser, password: registryPassword });
});
afterAll(async () => {
  await rm(home, { recursive: true, force: true });
  await removeNamespaces(AWS.namespace, ...(stack ? [stack.namespace] : []));
});

const environment = () => ({ PATH: process.env.PATH ?? "", HOME: home, KUBECONFIG: lab.kubeconfig });

/** As a person types it: with a home folder and a kubeconfig, and nothing of this test's. */
async function run(args: string[], env: Record<string, string> = {}) {
  const options = { env: { ...environment(), ...env }, extendEnv: false, reject: false, stdin: "ignore" } as const;
  const { exitCode, stdout, stderr } = await execa(HOMECLOUD, args, options);
  expect(stderr, "no stack trace").not.toMatch(/^\s+at /m);
  return { exitCode, stdout, stderr };
}

const homecloud = (...args: string[]) => run(["--namespace", stack.namespace, ...args]);

/** What a command prints that ends well. */
async function printed(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await homecloud(...args);
  expect(exitCode, stderr).toBe(0);
  return stdout;
}

const json = async (...args: string[]) => JSON.parse(await printed(...args, "--json"));

/** The columns of a line of a table. */
const columns = (text: string, first: string) =>
  text
    .split("\n")
    .map((line) => line.split(/ {2,}/))
    .find(([name]) => name === first);

async function expectMistake(args: string[], exitCode: number, message: RegExp | string, env = {}): Promise<void> {
  const ended = await run(args, env);
  expect(ended.stderr.trim()).toMatch(message);
  expect(ended.stderr.trim().split("\n"), "one line").toHaveLength(1);
  expect(ended).toMatchObject({ exitCode, stdout: "" });
}

describe("what is in the registry", () => {
  let index: { folder: string; digest: string };
  let digest: string;

  beforeAll(async () => {
    index = await ociIndex();
    await new Skopeo(stack).push(`oci:${index.folder}:1.0`, "team/multi:1.0", "--all");
    digest = await writer.pushImage("team/app", "1.0", 3 * MIB);
    const image = `${stack.outputs.registryHost}/team/app:1.0`;
    expect(image).toBe(`127.0.0.1:${PORT}/team/app:1.0`);
    // The same image by another tag, and in another repository.
    const manifest = await (await writer.request(`/v2/team/app/manifests/${digest}`, MANIFEST)).text();
    await writer.putManifest("team/app", "latest", manifest);
    for (const blob of [...manifest.matchAll(/sha256:[0-9a-f]{64}/g)].map(([found]) => found)) {
      await writer.request(`/v2/copy/app/blobs/uploads/?mount=${blob}&from=team/app`, { method: "POST" });
    }
    await writer.putManifest("copy/app", "1", manifest);
    await writer.pushImage("alone/app", "1", 2 * MIB);
  });

  test("ls, and inspect of two platforms", async () => {
    expect((await printed("ls")).split("\n")).toEqual(["alone/app", "copy/app", "team/app", "team/multi"]);
    expect(await json("ls")).toHaveLength(4);
    const tags = await printed("ls", "team/app");
    expect(columns(tags, "1.0")).toEqual(["1.0", digest.slice(0, 19), "3 MiB", "linux/amd64"]);
    expect(columns(tags, "latest")?.[1]).toBe(digest.slice(0, 19));
    expect(columns(await printed("ls", "team/multi"), "1.0")?.[3]).toBe("linux/amd64, linux/arm64");

    const shown = await printed("inspect", "team/multi:1.0");
    expect(shown).toContain(`digest  ${index.digest}`);
    expect(shown).toMatch(/^linux\/amd64 +sha256:[\s\S]+^linux\/arm64 +sha256:/m);
    const details = await json("inspect", `${stack.outputs.registryHost}/team/multi@${index.digest}`);
    expect(details.platforms).toMatchObject([{ name: "linux/amd64", created: "2026-01-01T00:00:00Z" }, {}]);
  });

  test("usage counts shared layers once, and a collection frees what it says", async () => {
    const usage = await printed("usage");
    expect(columns(usage, "team/app")).toEqual(["team/app", "2", "3 MiB", "0 B"]);
    expect(columns(usage, "copy/app")).toEqual(["copy/app", "1", "3 MiB", "0 B"]);
    expect(columns(usage, "alone/app")).toEqual(["alone/app", "1", "2 MiB", "2 MiB"]);
    expect(usage).toContain("5.01 MiB in all, shared layers counted once");

    const { repositories } = await json("usage");
    const { frees } = repositories.find(({ repository }: { repository: string }) => repository === "alone/app");
    expect(await printed("rm", "--yes", "alone/app:1")).toBe("deleted alone/app:1");
    expect(await printed("ls", "alone/app")).toBe("alone/app has no tag");
    const { freed } = await json("gc", "--untagged", "--older-than", "0m");
    expect(freed).toBeGreaterThanOrEqual(frees);
    expect(freed).toBeLessThan(frees + BLOCKS);
  });

  test("rm asks; it takes the tag alone, several at once, and nothing where one is missing", async () => {
    await expectMistake(rmOf("team/app:1.0"), 2, "there is no terminal to ask at: say --yes");
    await expectMistake(rmOf("--yes", "team/app:1.0", "team/app:9"), 4, `no team/app:9 in 127.0.0.1:${PORT}`);
    await expectMistake(rmOf("--yes", "team/app"), 2, "tags are deleted here, as REPO:TAG");
    expect((await json("ls", "team/app")).map(({ tag }: { tag: string }) => tag)).toEqual(["1.0", "latest"]);

    expect(await answering("n", "team/app:1.0")).toMatchObject({ exitCode: 5 });
    expect(await answering("\u0003", "team/app:1.0")).toMatchObject({ exitCode: 5 });
    const agreed = await answering("y", "team/app:1.0", "copy/app:1");
    expect(agreed.exitCode).toBe(0);
    expect(agreed.stdout).toContain("deleted team/app:1.0");
    expect((await json("ls", "team/app")).map(({ tag }: { tag: string }) => tag)).toEqual(["latest"]);
    expect(await writer.pullImage("team/app", "latest")).toBe(digest);
  });

  const rmOf = (...args: string[]) => ["--namespace", stack.namespace, "rm", ...args];

  /** At a terminal, with this answer to its question. */
  async function answering(answer: string, ...images: string[]) {
    const command = [HOMECLOUD, ...rmOf(...images)].join(" ");
    const options = { env: environment(), extendEnv: false, reject: false, all: true, timeout: 30_000 } as const;
    const asked = execa("script", ["--quiet", "--return", "--command", command, "/dev/null"], options);
    let screen = "";
    for await (const chunk of asked.iterable({ from: "stdout", binary: true })) {
      screen += Buffer.from(chunk).toString();
      if (!screen.includes("(y/N)") || asked.stdin.writableEnded) continue;
      asked.stdin.end(answer === "\u0003" ? answer : `${answer}\n`);
    }
    const { exitCode } = await asked;
    expect(screen, "no stack trace").not.toMatch(/^\s+at /m);
    return { exitCode, stdout: screen };
  }

  test("what is not there, or is no name, is said", async () => {
    const at = ["--namespace", stack.namespace];
    await expectMistake([...at, "ls", "nope"], 4, `there is no repository nope in 127.0.0.1:${PORT}`);
    await expectMistake([...at, "inspect", "team/app:9"], 4, "homecloud ls team/app lists what there is");
    await expectMistake([...at, "usage", "nope"], 4, "no image of nope");
    await expectMistake([...at, "inspect", "team/app"], 2, "team/app has no tag");
    await expectMistake([...at, "ls", "team/app:latest"], 2, "a repository is asked for here: team/app");
    await expectMistake([...at, "ls", "docker.io/Library"], 2, "is no image of");
  });
});

const MANIFEST = { headers: { accept: "application/vnd.oci.image.manifest.v1+json" } };

test("env: what a shell takes from it lets Debian's aws and the SDK in, with the CA that it writes", async () => {
  const laptop = await Laptop.start(dnsmasqLines(dnsRecords([AWS.host, `*.${AWS.host}`], "127.0.0.1")), environment());
  try {
    const options = `--namespace ${stack.namespace} env --ca-file "$HOME/ca.crt"`;
    // Debian's is older than the variable of the endpoint.
    const s3 = 'aws --endpoint-url "$AWS_ENDPOINT_URL" s3';
    const script = `set -e; cd; eval "$(${HOMECLOUD} ${options})"; ${s3} mb s3://from-a-shell; ${s3} ls; exec env`;
    const path = `${dirname(lab.bin("aws"))}:${process.env.PATH}`;
    const { exitCode, stdout, stderr } = await laptop.run("bash", ["-c", script], { ...environment(), PATH: path });
    expect(exitCode, stderr).toBe(0);
    expect(stdout).toMatch(/ from-a-shell$/m);
    expect(stdout).toContain(`AWS_CA_BUNDLE=${home}/ca.crt`);
    expect(await readFile(join(home, "ca.crt"), "utf8")).toBe(stack.outputs.caCertificate);

    const variables = await json("env", "--ca-file", join(home, "ca.crt"));
    expect(await laptop.program("bucket", ["from-the-sdk"], variables)).toContain("equal");
  } finally {
    await laptop.stop();
  }
});

describe("status", () => {
  test("all of it on one screen", async () => {
    await apply({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "trusted-nodes", namespace: stack.namespace },
      data: { "agent-1": "2026-11-21T10:00:00Z", "server-1": "2026-11-21T10:01:00Z", "server-2": "never" },
    });
    await printed("gc");
    // The quota container tells of a collection with its next measurement.
    await sleep(3000);
    const screen = await printed("status");
    expect(screen.split("\n").length).toBeLessThan(15);
    expect(screen).toContain("Homecloud (stack commands) in context homecloud-lab");
    expect(columns(screen, "registry")).toMatchObject({
      1: "running",
      2: expect.stringMatching(/^[\d.]+ [KM]iB of 256 MiB \(\d %\)$/),
      3: expect.stringMatching(/^20\d\d-\d\d-\d\d \(3\d\d days\)$/),
      4: expect.stringMatching(/^registry:3\./),
    });
    expect(columns(screen, "localstack")).toMatchObject({ 1: "running", 4: expect.stringMatching(/^localstack:4\./) });
    expect(screen).toContain(`registry: https://127.0.0.1:${PORT}`);
    expect(screen).toContain(`localstack: https://${AWS.host}:${AWS.port}`);
    expect(screen).toContain(`last garbage collection: ${new Date().toISOString().slice(0, 10)} `);
    expect(screen).toContain("nodes that trust the registry: agent-1, server-1");
    const { workloads } = await json("status");
    expect(workloads).toMatchObject([{ name: "registry", ready: true, storage: { full: false } }, { ready: true }]);
  });

  test("pushes that wait for whoever holds the lock", async () => {
    // Until the next test takes the pod away.
    const hold = 'exec 9>>"$LOCKS/collect"; flock 9; sleep 120';
    inRegistry(stack.namespace, "sh", "-c", hold).catch(() => "");
    const state = async () => columns(await printed("status"), "registry")?.[1];
    await until(async () => (await state()) === "running, pushes wait", 30, "status tells of it");
  });

  test("with the registry scaled to 0, and with LocalStack off", { timeout: 300_000 }, async () => {
    await kubectl("-n", stack.namespace, "scale", "deployment/registry", "--replicas=0");
    await kubectl("-n", stack.namespace, "wait", "--for=delete", "pod", "--all", "--timeout=60s");
    await removeNamespaces(AWS.namespace);
    await kubectl("wait", "--for=delete", `namespace/${AWS.namespace}`, "--timeout=180s");
    const { exitCode, stdout, stderr } = await homecloud("status");
    expect(exitCode, stderr).toBe(1);
    expect(columns(stdout, "registry")).toMatchObject({ 1: "scaled to 0", 2: "-" });
    expect(columns(stdout, "localstack")).toBeUndefined();
    expect(stdout).toContain("last garbage collection: not known, the registry does not answer");

    const at = ["--namespace", stack.namespace];
    await expectMistake([...at, "env"], 4, "this deployment has no LocalStack");
    await expectMistake([...at, "ls"], 3, `there is no pod of the registry in ${stack.namespace}`);
    await kubectl("-n", stack.namespace, "scale", "deployment/registry", "--replicas=1");
    await registryPod(stack.namespace);
  });
});

describe("a wrong cluster, or none", () => {
  test("a context or a namespace that is not there; two deployments, and none chosen", async () => {
    await expectMistake(["--context", "nope", "ls"], 3, "has no context nope; there are: homecloud-lab");
    await expectMistake(["--namespace", "nope", "ls"], 3, "no registry of Homecloud's is in the namespace nope");
    await expectMistake(
      ["status"],
      2,
      /there are \d+ registries of Homecloud's: choose one with --namespace: .*commands/,
    );
  });

  test("a kubeconfig that is missing, broken, of a dead cluster, or of nobody whom the cluster knows", async () => {
    const good = await readFile(lab.kubeconfig, "utf8");
    const write = async (name: string, text: string) => {
      await writeFile(join(home, name), text, { mode: 0o600 });
      return { KUBECONFIG: join(home, name) };
    };
    const dead = await write("dead", good.replace(/server: .*/, "server: https://127.0.0.1:30859"));
    const nobody = await write(
      "nobody",
      good.replace(/ *client-.*\n/g, "").replace(/user:\n/, "user:\n      token: x\n"),
    );
    await expectMistake(["ls"], 3, "there is no kubeconfig", { KUBECONFIG: "" });
    await expectMistake(["ls"], 3, "the kubeconfig cannot be read", { KUBECONFIG: join(home, "missing") });
    await expectMistake(["ls"], 3, "the kubeconfig cannot be read", await write("broken", "bad: ["));
    await expectMistake(["ls"], 3, /does not answer: .*ECONNREFUSED/, dead);
    await expectMistake(["ls"], 3, "does not accept this kubeconfig's login", nobody);
  });
});

test("every command has a help with examples", async () => {
  const commands = buildProgram().commands.filter((command) => command.name() !== "complete");
  expect(commands.length).toBeGreaterThan(10);
  for (const command of commands) {
    let help = "";
    command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
    expect(help, command.name()).toMatch(/\nExamples:\n {2}\S/);
    expect(help, command.name()).toContain("--json");
  }
  expect((await run(["ls", "--help"])).exitCode).toBe(0);
});
