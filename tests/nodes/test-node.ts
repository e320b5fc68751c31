import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { isMissing } from "../../lab/files.ts";
import { shellQuote } from "../../lab/wrappers.ts";
import { FAULTS, type NodeSpec, partsOf, SETTINGS_DISK } from "./machine.ts";
import type { MachineProcess } from "./machine-process.ts";

/** How a command on a node ended. */
export interface Ended {
  /** Undefined where a signal ended it. */
  exitCode: number | undefined;
  stdout: string;
  stderr: string;
  /** Both, in the order in which they came. */
  all: string;
}

export interface ExecOptions {
  /** What the command reads. Defaults to nothing. */
  input?: string;
  /** Ends the command after so many milliseconds. Defaults to never. */
  timeout?: number;
}

/** Faults that lab/k3s/faults.go knows; all but `stop-hangs` and `api-not-ready` show at the next start of the service. */
export type Fault = "kubelet-dead" | "start-hangs" | "stop-hangs" | "start-fails" | "api-not-ready";

export interface NodeProcess {
  pid: number;
  parent: number;
  user: string;
  /** The whole command line, which is what anybody on the node may read. */
  args: string;
}

/** What a fleet has made for one node. */
export interface NodeParts {
  spec: NodeSpec;
  process: MachineProcess;
  address: string;
  hostKey: string;
  /** Command line of a real ssh client that reaches the node, but for what it is to run. */
  ssh: string[];
  plug(isIn: boolean): Promise<void>;
}

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** A machine of its own as far as processes, files, network and name go, with a real sshd and a real containerd. */
export class TestNode {
  readonly port = 22;
  private readonly parts: NodeParts;
  private boots = 0;

  constructor(parts: NodeParts) {
    this.parts = parts;
  }

  get name(): string {
    return this.parts.spec.name;
  }

  get role(): NodeSpec["role"] {
    return this.parts.spec.role;
  }

  get distribution(): NonNullable<NodeSpec["distribution"]> {
    return this.parts.spec.distribution ?? "k3s";
  }

  get user(): string {
    return this.parts.spec.user ?? "root";
  }

  get address(): string {
    return this.parts.address;
  }

  /** `ssh-ed25519 AAAA…` */
  get hostKey(): string {
    return this.parts.hostKey;
  }

  /** The systemd unit that reads what is known of registries. */
  get service(): string {
    return partsOf(this.parts.spec).service;
  }

  /** Runs a line of bash as root on the node, not through SSH. */
  exec(command: string, { input = "", timeout = 0 }: ExecOptions = {}): Promise<Ended> {
    const inside = ["--target", String(this.parts.process.pid), "--mount", "--pid", "--net", "--uts", "--ipc"];
    const environment = ["env", "-i", `PATH=${PATH}`, "HOME=/root", "USER=root", "LANG=C.UTF-8"];
    return run(["nsenter", ...inside, "--", ...environment, "bash", "-c", command], input, timeout);
  }

  /** Runs a line of shell as the node's user, through the real ssh client. */
  ssh(command: string, { input = "", timeout = 0 }: ExecOptions = {}): Promise<Ended> {
    return run([...this.parts.ssh, command], input, timeout);
  }

  async readFile(path: string): Promise<string> {
    const { stdout, stderr, exitCode } = await this.exec(`cat ${shellQuote(path)}`);
    if (exitCode !== 0) throw new Error(stderr);
    return stdout;
  }

  async writeFile(path: string, text: string): Promise<void> {
    const quoted = shellQuote(path);
    const { stderr, exitCode } = await this.exec(`mkdir -p "$(dirname ${quoted})" && cat >${quoted}`, { input: text });
    if (exitCode !== 0) throw new Error(stderr);
  }

  async exists(path: string): Promise<boolean> {
    return (await this.exec(`test -e ${shellQuote(path)}`)).exitCode === 0;
  }

  /** Lets the node's containerd pull, through its CRI, an image that it forgets first. */
  async pull(image: string): Promise<{ ok: boolean; output: string }> {
    const { crictl } = partsOf(this.parts.spec);
    await this.exec(`${crictl} rmi ${shellQuote(image)}`);
    const { exitCode, all } = await this.exec(`${crictl} pull ${shellQuote(image)}`);
    return { ok: exitCode === 0, output: all };
  }

  /** Lets the node know an address by name. */
  async addHost(name: string, address: string): Promise<void> {
    await this.exec("cat >>/etc/hosts", { input: `${address} ${name}\n` });
  }

  /** All processes of the node, the one that asks left out. */
  async processes(): Promise<NodeProcess[]> {
    const { stdout } = await this.exec("exec ps -ww -eo pid=,ppid=,user:32=,args=");
    const rows = stdout.split("\n").map((line) => /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line));
    const found = rows.flatMap((row) =>
      row ? [{ pid: Number(row[1]), parent: Number(row[2]), user: row[3] ?? "", args: row[4] ?? "" }] : [],
    );
    return found.filter(({ args }) => !args.startsWith("ps -ww -eo"));
  }

  /** Ends processes whose command line matches, and all that they have started, by force; says how many there were. */
  async killTree(pattern: RegExp): Promise<number> {
    const processes = await this.processes();
    const family = new Set(processes.filter(({ pid, args }) => pid !== 1 && pattern.test(args)).map(({ pid }) => pid));
    // Children are listed after their parents, but for numbers that have gone round: twice is enough here.
    for (const { pid, parent } of [...processes, ...processes]) if (family.has(parent)) family.add(pid);
    if (family.size > 0) await this.exec(`kill -9 ${[...family].join(" ")}`);
    return family.size;
  }

  /** The journal of the node's service, what systemd says of it included. */
  async journal(): Promise<string> {
    return (await this.exec(`journalctl -u ${this.service} -o cat --no-pager`)).stdout;
  }

  async fault(name: Fault, isOn: boolean): Promise<void> {
    await this.exec(isOn ? `touch ${FAULTS}/${name}` : `rm -f ${FAULTS}/${name}`);
  }

  /** How long the API server takes to come up at the next start, or an agent to reach it. It takes 300 ms by itself. */
  async startDelay(milliseconds: number): Promise<void> {
    await this.writeFile(`${FAULTS}/start-delay`, String(milliseconds));
  }

  /** Leaves not a byte on the disk that holds /etc/rancher. */
  async fillDisk(): Promise<void> {
    await this.exec(`dd if=/dev/zero of=${SETTINGS_DISK}/.filler bs=4k`);
  }

  async freeDisk(): Promise<void> {
    await this.exec(`rm -f ${SETTINGS_DISK}/.filler`);
  }

  /** Free bytes on that disk. */
  async freeBytes(): Promise<number> {
    return Number((await this.exec(`stat -f -c '%f %S' ${SETTINGS_DISK} | awk '{ print $1 * $2 }'`)).stdout);
  }

  /**
   * Ends every SSH connection of the node by force, as far as both ends can tell: clients see the connection closed, and
   * what they were running is left with nobody to read its output. New connections are let in.
   */
  async cutSsh(): Promise<void> {
    const listener = "$(systemctl show -p MainPID --value ssh)";
    await this.exec(`for pid in $(pgrep -x sshd); do [ "$pid" = "${listener}" ] || kill -9 "$pid"; done`);
  }

  /** Pulls the network cable out, and back in: nobody is told, what is sent in between is sent again. */
  async unplug(): Promise<void> {
    await this.parts.plug(false);
  }

  async plugIn(): Promise<void> {
    await this.parts.plug(true);
  }

  /**
   * Power off and on: every process ends at once, /run and /tmp are empty, and sshd and the service are started, in that
   * they are not waited for. The first time is the node's first boot.
   */
  async reboot(): Promise<void> {
    this.boots++;
    process.kill(this.parts.process.pid, "SIGUSR1");
    await until(async () => (await this.bootsSeen()) === this.boots, `${this.name} does not boot`);
    await until(async () => (await this.exec("systemctl is-active --quiet ssh")).exitCode === 0, "sshd does not start");
  }

  /** Waits until the service is up, and kubelet healthy where there is one. */
  async untilHealthy(): Promise<void> {
    await until(() => this.isHealthy(), `${this.name} is not healthy`);
  }

  async isHealthy(): Promise<boolean> {
    const kubelet = this.distribution === "containerd" ? "" : " && curl -sf http://127.0.0.1:10248/healthz";
    return (await this.exec(`systemctl is-active --quiet ${this.service}${kubelet}`)).exitCode === 0;
  }

  /** Ends the node for good, with all that is on it. */
  async end(): Promise<void> {
    await this.parts.process.end();
  }

  private async bootsSeen(): Promise<number> {
    try {
      return Number(await readFile(`/proc/${this.parts.process.pid}/root/run/boots`, "utf8"));
    } catch (error) {
      if (isMissing(error)) return 0;
      throw error;
    }
  }
}

async function run([command = "", ...args]: string[], input: string, timeout: number): Promise<Ended> {
  const { exitCode, stdout, stderr, all } = await execa(command, args, {
    input,
    timeout,
    all: true,
    reject: false,
    stripFinalNewline: false,
  });
  return { exitCode, stdout, stderr, all };
}

async function until(isSo: () => Promise<boolean>, otherwise: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(otherwise);
    await sleep(50);
  }
}
