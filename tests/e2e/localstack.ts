import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { parse } from "yaml";
import { dnsmasqLines, dnsRecords } from "../../components/dns-records.ts";
import { loadSettings, type RawConfig } from "../../config/load.ts";
import { PROJECT } from "../../config/project.ts";
import type { LocalOutputs } from "../../lab/deploy/deploy.ts";
import { applyStack } from "../../lab/deploy/with-render.ts";
import { containerdSocket } from "../../lab/paths.ts";
import { kubectl, lab, removeNamespaces, until } from "./cluster.ts";
import { Laptop } from "./laptop.ts";

/** A LocalStack of a test's own, with a computer that uses it. */
export interface TestLocalStack {
  name: string;
  namespace: string;
  /** Name of its endpoint. */
  host: string;
  outputs: LocalOutputs;
  laptop: Laptop;
}

export interface DeployOptions {
  /** Whether to wait until LocalStack is ready. Defaults to true. */
  wait?: boolean;
}

/** Deploys a stack with this LocalStack and the least of a registry, on two ports. Again with other settings: an update. */
export async function deployLocalStack(
  name: string,
  port: number,
  settings: object = {},
  { wait = true }: DeployOptions = {},
): Promise<TestLocalStack> {
  const { folder, laptop } = known.get(name) ?? { folder: await mkdtemp(join(tmpdir(), "homecloud-e2e-")) };
  const raw = configOf(name, port, settings);
  const { localstack } = loadSettings(raw);
  if (!localstack) throw new Error("there is no LocalStack in these settings");
  const outputs = await applyStack(lab, raw, join(folder, "generated.json"), { wait });
  const stack = {
    ...{ name, namespace: localstack.namespace, host: localstack.host, outputs },
    laptop: laptop ?? (await laptopOf(outputs, localstack.dnsNames, folder)),
  };
  known.set(name, { folder, laptop: stack.laptop });
  if (wait) await answersClients(stack);
  return stack;
}

const known = new Map<string, { folder: string; laptop?: Laptop }>();

function configOf(name: string, port: number, settings: object): RawConfig {
  const values = {
    access: { mode: "node-port", port: port + 1 },
    clusterNames: "coredns-custom",
    registryUi: { enabled: false },
    registry: {
      ...{ namespace: `registry-${name}`, localRegistryHosting: false, keepDataOnDestroy: false },
      ...{ storage: "64Mi", reserve: "8Mi", keepFree: "64Mi" },
    },
    localstack: {
      ...{ namespace: `localstack-${name}`, host: `${name}.aws.test`, port, edition: "ephemeral" },
      ...{ storage: "512Mi", reserve: "64Mi", keepFree: "64Mi", keepDataOnDestroy: false },
      ...{ lambda: { mode: "none" }, ...settings },
    },
  };
  const entries = Object.entries(values).map(([key, value]) => [
    `${PROJECT}:${key}`,
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
  return { project: PROJECT, stack: name, values: Object.fromEntries(entries), secretKeys: [] };
}

/** As the documentation tells people to set a computer up: DNS, the AWS variables, and the CA as a file. */
async function laptopOf(outputs: LocalOutputs, dnsNames: string[], folder: string): Promise<Laptop> {
  const caFile = join(folder, "ca", "ca.crt");
  await mkdir(join(folder, "ca"), { recursive: true });
  await writeFile(caFile, outputs.caCertificate);
  const env = { ...outputs.awsEnvironment, NODE_EXTRA_CA_CERTS: caFile, AWS_CA_BUNDLE: caFile };
  return Laptop.start(dnsmasqLines(dnsRecords(dnsNames, "127.0.0.1")), env);
}

/** Until the node's rules lead to LocalStack again: kube-proxy follows a new pod a second after it is ready. */
async function answersClients({ host, outputs, laptop }: TestLocalStack): Promise<void> {
  const url = `${outputs.localstackEndpoint}/_localstack/health`;
  const { AWS_CA_BUNDLE: caFile = "" } = laptop.env;
  const asked = () =>
    laptop.run("curl", ["--silent", "--output", "/dev/null", "--max-time", "10", "--cacert", caFile, url]);
  await until(async () => (await asked()).exitCode === 0, 60, `${host} answers`);
}

/** Until pods find it by its name: CoreDNS rereads what it imports by itself. */
export async function resolvesInPods({ namespace, host }: TestLocalStack): Promise<void> {
  const exec = ["-n", namespace, "exec", "deploy/localstack", "-c", "localstack", "--"];
  const lookup = [...exec, "python3", "-c", `import socket; socket.getaddrinfo("${host}", None)`];
  await until(() => kubectl(...lookup).then(() => true), 60, `pods resolve ${host}`);
}

export async function removeLocalStack(stack: TestLocalStack | undefined): Promise<void> {
  if (!stack) return;
  await stack.laptop.stop();
  known.delete(stack.name);
  await removeNamespaces(stack.namespace, `registry-${stack.name}`);
}

/** LocalStack's pod, whatever state it is in. */
export async function localstackPod(namespace: string): Promise<Pod> {
  const { items } = parse(await kubectl("-n", namespace, "get", "pods", "-o", "yaml")) as { items: Pod[] };
  const alive = items.filter(({ metadata }) => !metadata.deletionTimestamp);
  if (alive.length !== 1 || !alive[0]) throw new Error(`${alive.length} pods in ${namespace}`);
  return alive[0];
}

interface Pod {
  metadata: { name: string; uid: string; deletionTimestamp?: string };
  status: {
    conditions: { type: string; status: string; lastTransitionTime: string }[];
    containerStatuses: { name: string; containerID: string; restartCount: number }[];
  };
}

/** Ends a container of LocalStack's pod as a lack of memory would: at once. kubelet starts it again. */
export async function killContainer(namespace: string, name: string): Promise<void> {
  const { status } = await localstackPod(namespace);
  const id = status.containerStatuses.find((container) => container.name === name)?.containerID.split("//")[1] ?? "";
  const containerd = ["--address", containerdSocket, "--namespace", "k8s.io"];
  await execa(lab.bin("ctr"), [...containerd, "tasks", "kill", "--signal", "SIGKILL", id]);
}

/** A page of the metrics port, which no client reaches. */
export function metricsPage(namespace: string, path: string): Promise<string> {
  return kubectl("get", "--raw", `/api/v1/namespaces/${namespace}/services/localstack:metrics/proxy${path}`);
}
