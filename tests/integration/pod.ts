import { spawn } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { type ClientRequest, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { nginxCommand } from "../../components/nginx.ts";
import {
  collectorEnvironment,
  type QuotaOptions,
  quotaEnvironment,
  renderFiles,
} from "../../components/registry/files.ts";
import { type RegistryUser, renderHtpasswd } from "../../components/registry/htpasswd.ts";
import type { Layout } from "../../components/registry/layout.ts";
import { freePorts } from "../ports.ts";
import { basic, type Credentials, sha256 } from "./client.ts";

/** Programs that the pod's images carry, as paths on this machine. */
export interface PodTools {
  nginx: string;
  registry: string;
  busybox: string;
  flock: string;
}

/** A process of the pod, of which only its end matters. */
interface Running {
  pid: number | undefined;
  ended: Promise<unknown>;
}

/** What a command printed and how it ended. */
export interface Ended {
  all: string;
  exitCode: number | undefined;
}

export interface PodOptions {
  quota?: Partial<QuotaOptions>;
  users?: RegistryUser[];
  trustedProxies?: string[];
  /** PEM. The gate terminates TLS with it, as where no ingress does. Defaults to plain HTTP. */
  tls?: { certificate: string; privateKey: string };
  /** Seconds that each of the quota container's walks over the volume takes longer, as on a large one. Defaults to 0. */
  slowWalk?: number;
}

export const WRITER = { name: "homelab", password: "correct horse", salt: Buffer.alloc(16, 1).toString("base64") };
export const PULLER = { name: "puller-1", password: "battery staple", salt: Buffer.alloc(16, 2).toString("base64") };

const scripts = new URL("../../components/registry/", import.meta.url).pathname;

/**
 * The registry's pod as processes of this machine: the real registry, three real nginx and the quota script under busybox,
 * from the very files that the component puts into its ConfigMap, with ports and folders of their own.
 */
export class Pod {
  readonly layout: Layout;
  private readonly processes = new Map<string, Running>();
  private readonly root: string;
  private readonly tools: PodTools;
  private readonly options: PodOptions;

  private constructor(root: string, layout: Layout, tools: PodTools, options: PodOptions) {
    this.root = root;
    this.layout = layout;
    this.tools = tools;
    this.options = options;
  }

  static async start(tools: PodTools, options: PodOptions = {}): Promise<Pod> {
    const root = await mkdtemp(join(tmpdir(), "homecloud-pod-"));
    const pod = new Pod(root, await hostLayout(root), tools, options);
    await pod.writeFiles();
    await pod.startAll();
    return pod;
  }

  get url(): string {
    return `${this.options.tls ? "https" : "http"}://127.0.0.1:${this.layout.gatePort}`;
  }

  /** `host:port`, as image references carry it. */
  get host(): string {
    return `127.0.0.1:${this.layout.gatePort}`;
  }

  /** Ends one process, as a crash of its container would. */
  async kill(name: string, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.processes.get(name);
    if (!child) return;
    this.processes.delete(name);
    if (child.pid) process.kill(-child.pid, signal);
    await child.ended;
  }

  /** All processes end and start again with their memory volumes empty, as when the pod is replaced by a changed one. */
  async restart(changes: Pick<PodOptions, "users" | "tls"> = {}): Promise<void> {
    await this.endAll();
    Object.assign(this.options, changes);
    await this.writeFiles();
    await this.startAll();
  }

  /** All processes end, and nothing listens any more; `restart` brings them back. */
  async shutDown(): Promise<void> {
    await this.endAll();
  }

  async stop(): Promise<void> {
    await this.endAll();
    await rm(this.root, { recursive: true, force: true });
  }

  /** Runs the collector as `kubectl exec` would. */
  async collectGarbage(args: string[] = [], env: Record<string, string> = {}): Promise<Ended> {
    const { all, exitCode } = await this.startCollection(args, env);
    return { all, exitCode };
  }

  /** The same, to be killed: the script alone, as its children are no longer its own then. */
  startCollection(args: string[] = [], env: Record<string, string> = {}) {
    return execa(this.tools.busybox, ["sh", `${scripts}collect-garbage.sh`, ...args], {
      env: { PATH: this.path, ...collectorEnvironment(this.layout), ...env },
      extendEnv: false,
      all: true,
      reject: false,
    });
  }

  /** How many processes of a collection work on the volume. */
  async collectorsRunning(): Promise<number> {
    const { stdout } = await execa("ps", ["-eo", "args="]);
    return stdout.split("\n").filter((line) => line.includes("garbage-collect") && line.includes(this.layout.config))
      .length;
  }

  /** How many shells of a collection are there, its watchdog's among them. */
  async collectionShells(): Promise<number> {
    const said = async (id: string) => {
      const [line, environ] = await Promise.all(
        ["cmdline", "environ"].map((name) => readFile(`/proc/${id}/${name}`, "utf8").catch(() => "")),
      );
      return Boolean(line?.includes("collect-garbage.sh") && environ?.includes(this.layout.volume));
    };
    const processes = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
    return (await Promise.all(processes.map(said))).filter(Boolean).length;
  }

  /** Where the programs of the pod's images are. */
  get path(): string {
    return `${this.root}/bin`;
  }

  /** The same with an output that nobody reads, as when the client of `kubectl exec` was killed. */
  collectGarbageUnread(): { kill(signal: NodeJS.Signals): void } {
    const child = spawn(this.tools.busybox, ["sh", `${scripts}collect-garbage.sh`], {
      env: { PATH: `${this.root}/bin`, ...collectorEnvironment(this.layout) },
      stdio: ["ignore", "pipe", "pipe"],
    });
    return { kill: (signal) => child.kill(signal) };
  }

  /** Blobs that no manifest names: a collection deletes each with a line of its own. */
  async addUnreferencedBlobs(count: number): Promise<void> {
    for (let index = 0; index < count; index++) {
      const hex = sha256(String(index)).slice("sha256:".length);
      const folder = `${this.layout.volume}/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}`;
      await mkdir(folder, { recursive: true });
      await writeFile(`${folder}/data`, String(index));
    }
  }

  /** Holds the collector's lock, as a collection does while it runs. */
  holdCollectorLock(): { release(): void; kill(): void } {
    const child = spawn(this.tools.flock, [`${this.layout.locks}/collect`, "sleep", "60"], {
      stdio: "ignore",
      detached: true,
    });
    const end = (signal: NodeJS.Signals) => {
      if (child.pid) process.kill(-child.pid, signal);
    };
    return { release: () => end("SIGTERM"), kill: () => end("SIGKILL") };
  }

  /** An upload that has begun and does not end by itself. */
  slowUpload(location: string, user: Credentials): ClientRequest {
    const upload = request(new URL(location, this.url), { method: "PATCH", headers: basic(user) });
    upload.on("error", () => undefined);
    upload.write("begun");
    return upload;
  }

  /** Bytes of memory of its own that a container's processes hold: what counts against its limit, but for the page cache. */
  memoryOf(name: string): Promise<number> {
    return this.memoryOfFamily(this.processes.get(name)?.pid);
  }

  /** The same of any process and those that it has started. */
  async memoryOfFamily(first: number | undefined): Promise<number> {
    const { stdout } = await execa("ps", ["-eo", "pid=,ppid="]);
    const parents = stdout.split("\n").map((line) => line.trim().split(/\s+/).map(Number));
    const family = new Set([first]);
    // Children are listed after their parents, but for numbers that have gone round: twice is enough here.
    for (const [pid, parent] of [...parents, ...parents]) if (family.has(parent)) family.add(pid);
    const statuses = [...family].map((pid) => readFile(`/proc/${pid}/status`, "utf8").catch(() => ""));
    const kilobytes = (await Promise.all(statuses)).map((status) =>
      Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1] ?? 0),
    );
    return kilobytes.reduce((sum, next) => sum + next, 0) * 1024;
  }

  /** Everything that the processes have logged. */
  async logs(): Promise<string> {
    const names = ["registry", "login", "quota", "gate", "access"];
    return (await Promise.all(names.map((name) => readFile(`${this.root}/${name}.log`, "utf8").catch(() => "")))).join(
      "\n",
    );
  }

  /** Used bytes of the volume. */
  async usedBytes(): Promise<number> {
    const { stdout } = await execa(this.tools.busybox, ["du", "-sk", this.layout.volume]);
    return Number.parseInt(stdout, 10) * 1024;
  }

  private async writeFiles(): Promise<void> {
    const { layout, options, tools } = this;
    const files = renderFiles(layout, {
      writer: WRITER.name,
      tls: options.tls !== undefined,
      trustedProxies: options.trustedProxies ?? [],
      httpSecret: "only-for-tests",
    });
    for (const folder of [layout.state, layout.counters, layout.locks, layout.tmp])
      await rm(folder, { recursive: true, force: true });
    for (const folder of [
      layout.volume,
      layout.state,
      layout.counters,
      layout.locks,
      layout.config,
      layout.users,
      layout.tmp,
      `${this.root}/bin`,
    ]) {
      await mkdir(folder, { recursive: true });
      // Under root, nginx's workers are another user; in the pod all processes are the same one.
      await chmod(folder, 0o777);
    }
    await chmod(this.root, 0o755);
    for (const [name, text] of Object.entries(files)) await writeFile(join(layout.config, name), text);
    await writeFile(join(layout.users, "htpasswd"), renderHtpasswd(options.users ?? [WRITER, PULLER]));
    await this.writeCertificate();
    const { stdout } = await execa(tools.busybox, ["--list"]);
    const applets = stdout.split("\n").filter((applet) => applet !== "busybox");
    const links = new Map([
      ...applets.map((applet) => [applet, tools.busybox] as const),
      ["nginx", tools.nginx],
      ["registry", tools.registry],
      ["flock", tools.flock],
    ]);
    for (const [name, target] of links) await symlink(target, `${this.root}/bin/${name}`).catch(() => undefined);
  }

  private async writeCertificate(): Promise<void> {
    const { layout, options } = this;
    if (!options.tls) return;
    await mkdir(layout.certificate, { recursive: true });
    await writeFile(join(layout.certificate, "tls.crt"), options.tls.certificate);
    await writeFile(join(layout.certificate, "tls.key"), options.tls.privateKey, { mode: 0o600 });
  }

  /** Starts one process again in the folders that it has left, as Kubernetes starts a container that has ended. */
  start(name: "registry" | "login" | "quota" | "gate"): void {
    const { layout, tools, root } = this;
    const env = { PATH: `${root}/bin`, OTEL_TRACES_EXPORTER: "none" };
    // As the pod has it: a path of the pod in the command is one of this layout here.
    const nginx = (which: "gate" | "login") => {
      const [shell = "", ...args] = nginxCommand(which, layout);
      // The pod gives the login check half a processor; here it gets what the others leave.
      return which === "login"
        ? (["/usr/bin/nice", ["-n", "19", tools.busybox, shell, ...args]] as const)
        : ([tools.busybox, [shell, ...args]] as const);
    };
    if (name === "registry") this.spawn(name, [tools.registry, ["serve", `${layout.config}/config.yml`]], env);
    else if (name === "quota") {
      const quota = { ...env, ...quotaEnvironment(layout, this.quota()) };
      // A function of this name, as busybox's shell looks for its own du before any on PATH.
      const du = `du() { sleep ${this.options.slowWalk ?? 0}; command du "$@"; }`;
      this.spawn(name, [tools.busybox, ["sh", "-c", `${du}; . ${scripts}measure.sh`]], quota);
    } else this.spawn(name, nginx(name), env);
  }

  private async startAll(): Promise<void> {
    for (const name of ["registry", "login", "quota", "gate"] as const) this.start(name);
    await this.untilHealthy();
  }

  private quota(): QuotaOptions {
    return {
      limitBytes: 2 ** 30,
      reserveBytes: 2 ** 26,
      keepFreeBytes: 2 ** 20,
      interval: 1,
      remedy: "collect-garbage",
      ...this.options.quota,
    };
  }

  private spawn(
    name: string,
    [command, args]: readonly [string, readonly string[]],
    env: Record<string, string>,
  ): void {
    const log = { file: `${this.root}/${name}.log`, append: true };
    const child = execa(command, args, {
      env,
      extendEnv: false,
      stdout: log,
      stderr: log,
      stdin: "ignore",
      detached: true,
      reject: false,
      buffer: false,
    });
    this.processes.set(name, { pid: child.pid, ended: child });
  }

  async untilHealthy(): Promise<void> {
    for (let attempt = 0; attempt < 100; attempt++) {
      // Of the same nginx, on a port that needs no certificate.
      const answer = await fetch(`http://127.0.0.1:${this.layout.metricsPort}/healthz`).catch(() => undefined);
      if (answer?.ok) return;
      await sleep(100);
    }
    throw new Error(`the registry is not healthy; its logs are in ${this.root}`);
  }

  private async endAll(): Promise<void> {
    for (const name of [...this.processes.keys()]) await this.kill(name, name === "quota" ? "SIGKILL" : "SIGTERM");
  }
}

async function hostLayout(root: string): Promise<Layout> {
  const [gatePort, metricsPort, registryPort, registryDebugPort, loginPort, writesPort] = await freePorts(6);
  if (!gatePort || !metricsPort || !registryPort || !registryDebugPort || !loginPort || !writesPort)
    throw new Error("no free ports");
  return {
    ...{ gatePort, metricsPort, registryPort, registryDebugPort, loginPort, writesPort, loopback: "127.0.0.1" },
    volume: `${root}/volume`,
    state: `${root}/state`,
    counters: `${root}/counters`,
    locks: `${root}/locks`,
    tmp: `${root}/tmp`,
    config: `${root}/config`,
    users: `${root}/users`,
    certificate: `${root}/certificate`,
    accessLog: `${root}/access.log`,
  };
}
