import { readdir, readFile, readlink } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { basename } from "node:path";
import { execa } from "execa";
import { cannotRun, type LabError } from "./error.ts";
import { isMissing } from "./files.ts";
import { goPath } from "./go-builds.ts";
import { BRIDGE, PORTS } from "./network.ts";
import { isRunning, pidOf } from "./processes.ts";
import { GO_MINIMUM } from "./versions.ts";

/** The component that listens on each port. */
const PORT_OWNERS: Record<keyof typeof PORTS, string> = {
  apiServer: "kube-apiserver",
  etcdClient: "etcd",
  etcdPeer: "etcd",
  kubelet: "kubelet",
  kubeletHealth: "kubelet",
  controllerManager: "kube-controller-manager",
  scheduler: "kube-scheduler",
  proxyHealth: "kube-proxy",
  proxyMetrics: "kube-proxy",
};

/** Refuses a machine on which tools cannot be downloaded or built, if any have to be. */
export async function checkToolsCanBeMade(needed: { debian: boolean; go: boolean }): Promise<void> {
  if (process.platform !== "linux") throw notLinux();
  for (const command of needed.debian ? ["apt-get", "dpkg-deb"] : []) {
    const { failed } = await execa(command, ["--version"], { reject: false });
    if (failed) throw cannotRun(`the lab takes its parts from Debian or Ubuntu, and this machine has no ${command}`);
  }
  if (needed.go) await checkGo();
}

/** Refuses a machine on which a second cluster would do harm. */
export async function checkClusterCanRun(): Promise<void> {
  checkRoot();
  await checkOtherClusters();
  await checkPorts();
  checkAddresses();
}

/** The least that stopping needs too. */
export function checkRoot(): void {
  if (process.platform !== "linux") throw notLinux();
  if (process.getuid?.() !== 0) throw cannotRun("the lab runs containers and needs root: use sudo");
}

const notLinux = (): LabError => cannotRun(`the lab runs on Linux only, and this is ${process.platform}`);

async function checkGo(): Promise<void> {
  const options = { reject: false, env: { PATH: goPath() } };
  const { stdout, failed } = await execa("go", ["env", "GOVERSION"], options);
  if (failed) throw cannotRun(`the lab is built with Go ${GO_MINIMUM} or newer, and there is no go on PATH`);
  const version = stdout.replace(/^go/, "");
  if (!isAtLeast(version, GO_MINIMUM))
    throw cannotRun(`the lab is built with Go ${GO_MINIMUM} or newer, and the go on PATH is ${version}`);
}

/** Whether a version such as 1.26.3 or 1.27rc1 is at least one such as 1.26. */
export function isAtLeast(version: string, minimum: string): boolean {
  const [major = 0, minor = 0] = version.split(/[^\d]+/).map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = minimum.split(".").map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

async function checkOtherClusters(): Promise<void> {
  const ours = await pidOf("kubelet");
  const network = await readlink("/proc/self/ns/net");
  for (const entry of await readdir("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === ours) continue;
    const agent = await nodeAgentOf(pid);
    // KIND's kubelets are seen from here too, but live in containers with networks of their own.
    if (agent && (await networkOf(pid)) === network)
      throw cannotRun(`this machine already is a Kubernetes node: ${agent} runs as process ${pid}`);
  }
}

async function networkOf(pid: number): Promise<string | undefined> {
  return readlink(`/proc/${pid}/ns/net`).catch(() => undefined);
}

async function nodeAgentOf(pid: number): Promise<string | undefined> {
  try {
    return nodeAgentIn(await readFile(`/proc/${pid}/cmdline`, "utf8"));
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** The Kubernetes node agent that a command line of /proc runs, if it is one. */
export function nodeAgentIn(commandLine: string): string | undefined {
  const program = basename(commandLine.split("\0")[0]?.split(" ")[0] ?? "");
  return ["k3s", "k3s-server", "k3s-agent", "rke2", "k0s", "kubelet"].find((agent) => agent === program);
}

async function checkPorts(): Promise<void> {
  const listening = new Set<number>();
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"])
    for (const port of listeningPorts(await readFile(table, "utf8").catch(() => ""))) listening.add(port);
  for (const [purpose, port] of Object.entries(PORTS) as [keyof typeof PORTS, number][]) {
    if (listening.has(port) && !(await isRunning(PORT_OWNERS[purpose]))) throw portInUse(port, PORT_OWNERS[purpose]);
  }
}

function portInUse(port: number, owner: string): LabError {
  return cannotRun(`port ${port}, which the lab's ${owner} needs, is in use by another process`);
}

/** Ports that something listens on, from a table such as /proc/net/tcp. */
export function listeningPorts(table: string): number[] {
  const LISTEN = "0A";
  const rows = table.split("\n").map((line) => line.trim().split(/\s+/));
  return rows.filter((row) => row[3] === LISTEN).map((row) => Number.parseInt(row[1]?.split(":")[1] ?? "", 16));
}

function checkAddresses(): void {
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    const taken = addresses?.find(({ address }) => /^10\.14[23]\./.test(address));
    if (taken && name !== BRIDGE)
      throw cannotRun(`the lab's networks 10.142.0.0/24 and 10.143.0.0/16 are in use by ${name} (${taken.address})`);
  }
}
