import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { type LocalStackGateOptions, renderLocalStackGate } from "../../components/localstack/gate.ts";
import { type LocalStackLayout, REFUSALS, refusalFile, STATE_FILES } from "../../components/localstack/layout.ts";
import { MESSAGE, REFUSAL_TEMPLATES } from "../../components/localstack/refusals.ts";
import { renderUploads } from "../../components/localstack/uploads.ts";
import { nginxCommand } from "../../components/nginx.ts";
import { freePorts } from "../ports.ts";
import type { PodTools } from "./pod.ts";

const relayScript = new URL("../../components/localstack/relay.sh", import.meta.url).pathname;

/** What the watch container would write. */
export const FULL_MESSAGE = "storage is full: 18.5 GiB of 20.0 GiB are used";

interface Running {
  pid: number | undefined;
  ended: Promise<{ exitCode?: number | undefined }>;
}

export interface FrontOptions extends Partial<LocalStackGateOptions> {
  /** PEM, where `tls`. */
  certificate?: { certificate: string; privateKey: string };
  /** Port of what stands behind. Defaults to a free one. */
  localstackPort?: number;
}

/** The gate and the relay of LocalStack's pod as processes of this machine, from the files that the pod gets. */
export class Front {
  readonly layout: LocalStackLayout;
  private readonly root: string;
  private readonly tools: PodTools;
  private readonly processes = new Map<"gate" | "relay", Running>();

  private constructor(root: string, layout: LocalStackLayout, tools: PodTools) {
    this.root = root;
    this.layout = layout;
    this.tools = tools;
  }

  static async start(tools: PodTools, options: FrontOptions = {}): Promise<Front> {
    const root = await mkdtemp(join(tmpdir(), "homecloud-localstack-"));
    const layout = await hostLayout(root);
    const front = new Front(
      root,
      { ...layout, localstackPort: options.localstackPort ?? layout.localstackPort },
      tools,
    );
    await front.writeFiles(options);
    front.run("relay");
    front.run("gate");
    await front.untilListening();
    return front;
  }

  get url(): string {
    return `http://127.0.0.1:${this.layout.gatePort}`;
  }

  /** Writes a file of the state folder, as the watch container does; without a content it goes. */
  async state(file: string, content: string | undefined): Promise<void> {
    const path = join(this.layout.state, file);
    if (content === undefined) await rm(path, { force: true });
    else await writeFile(path, content);
  }

  /** Storage fills, with its answers, or has room again. */
  async full(full: boolean): Promise<void> {
    for (const form of REFUSALS)
      await this.state(refusalFile(form), full ? REFUSAL_TEMPLATES[form].replace(MESSAGE, FULL_MESSAGE) : undefined);
    await this.state(STATE_FILES.full, full ? "" : undefined);
  }

  /** Events counted so far. */
  async count(name: string): Promise<number> {
    return (await readFile(join(this.layout.counters, name), "utf8").catch(() => "")).length;
  }

  /** The access log's lines, once there are none to come. */
  async accessLog(): Promise<Record<string, unknown>[]> {
    await sleep(100);
    const text = await readFile(this.layout.accessLog, "utf8");
    return text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line));
  }

  errorLog(): Promise<string> {
    return readFile(join(this.root, "gate.log"), "utf8");
  }

  /** Ends a process; returns how it ended. */
  async end(name: "gate" | "relay", signal: NodeJS.Signals): Promise<number | undefined> {
    const child = this.processes.get(name);
    this.processes.delete(name);
    if (!child?.pid) return undefined;
    // As Kubernetes does: the first process only. What is killed is killed with its children.
    process.kill(signal === "SIGKILL" ? -child.pid : child.pid, signal);
    return (await child.ended).exitCode;
  }

  async stop(): Promise<void> {
    for (const name of [...this.processes.keys()]) await this.end(name, "SIGKILL");
    await rm(this.root, { recursive: true, force: true });
  }

  /** Starts a process, as Kubernetes starts a container that has ended. */
  run(name: "gate" | "relay"): void {
    const { layout, root, tools } = this;
    const [shell = "", ...args] = name === "gate" ? nginxCommand("gate", layout) : ["sh", relayScript];
    const log = { file: join(root, `${name}.log`), append: true };
    const child = execa(tools.busybox, [shell, ...args], {
      env: { PATH: `${root}/bin`, STATE: layout.state, TMP: layout.tmp, UPLOADS_CONF: `${layout.config}/uploads.conf` },
      extendEnv: false,
      ...{ stdout: log, stderr: log, stdin: "ignore", detached: true, reject: false, buffer: false },
    });
    this.processes.set(name, { pid: child.pid, ended: child });
  }

  async untilListening(): Promise<void> {
    const { metricsPort, uploadsPort } = this.layout;
    for (let attempt = 0; attempt < 100; attempt++) {
      const answers = [`${metricsPort}/metrics`, `${uploadsPort}/`].map((at) => fetch(`http://127.0.0.1:${at}`));
      if ((await Promise.allSettled(answers)).every(({ status }) => status === "fulfilled")) return;
      await sleep(50);
    }
    throw new Error(`the gate does not listen: ${await this.errorLog()}`);
  }

  private async writeFiles({ certificate, ...options }: FrontOptions): Promise<void> {
    const { layout, root, tools } = this;
    const folders = [layout.state, layout.counters, layout.tmp, layout.config, layout.certificate, `${root}/bin`];
    for (const folder of folders) {
      await mkdir(folder, { recursive: true });
      // Under root, nginx's workers are another user; in the pod all processes are the same one.
      await chmod(folder, 0o777);
    }
    await chmod(root, 0o755);
    const gate = {
      tls: false,
      trustedProxies: [],
      allowedRanges: ["127.0.0.0/8"],
      host: "localstack.test",
      ...options,
    };
    await writeFile(join(layout.config, "gate.conf"), renderLocalStackGate(layout, gate));
    await writeFile(join(layout.config, "uploads.conf"), renderUploads(layout));
    if (certificate) {
      await writeFile(join(layout.certificate, "tls.crt"), certificate.certificate);
      await writeFile(join(layout.certificate, "tls.key"), certificate.privateKey);
    }
    const { stdout } = await execa(tools.busybox, ["--list"]);
    for (const applet of stdout.split("\n"))
      if (applet !== "busybox") await symlink(tools.busybox, `${root}/bin/${applet}`);
    await symlink(tools.nginx, `${root}/bin/nginx`);
  }
}

async function hostLayout(root: string): Promise<LocalStackLayout> {
  const [gatePort, metricsPort, localstackPort, uploadsPort] = await freePorts(4);
  if (!gatePort || !metricsPort || !localstackPort || !uploadsPort) throw new Error("no free ports");
  const folders = ["volume", "state", "counters", "tmp", "config", "certificate"] as const;
  return {
    ...{ gatePort, metricsPort, localstackPort, uploadsPort, loopback: "127.0.0.1" },
    ...(Object.fromEntries(folders.map((name) => [name, join(root, name)])) as Record<
      (typeof folders)[number],
      string
    >),
    accessLog: join(root, "access.log"),
  };
}
