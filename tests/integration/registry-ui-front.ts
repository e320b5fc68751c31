import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { nginxCommand } from "../../components/nginx.ts";
import { renderUiFiles, type UiGateOptions } from "../../components/registry-ui/gate.ts";
import type { UiLayout } from "../../components/registry-ui/layout.ts";
import { freePorts } from "../ports.ts";
import type { PodTools } from "./pod.ts";

export interface UiFrontOptions extends Partial<Omit<UiGateOptions, "tls">> {
  /** PEM. The gate terminates TLS with it, as where no ingress does. Defaults to plain HTTP. */
  tls?: { certificate: string; privateKey: string };
  /** PEM, what the registry's gate is known by. */
  ca?: string;
}

/** The gate of the web page's pod as a process of this machine, from the very file that the pod gets. */
export class UiFront {
  readonly layout: UiLayout;
  private readonly root: string;
  private readonly tls: boolean;
  private child: { pid: number | undefined; ended: Promise<unknown> } | undefined;

  private constructor(root: string, layout: UiLayout, tls: boolean) {
    this.root = root;
    this.layout = layout;
    this.tls = tls;
  }

  /** Stands in front of the registry's gate at this port, and of a page at that one. */
  static async start(
    tools: PodTools,
    ports: { registry: number; page: number },
    options: UiFrontOptions = {},
  ): Promise<UiFront> {
    const root = await mkdtemp(join(tmpdir(), "homecloud-registry-ui-"));
    const layout = { ...(await hostLayout(root)), pagePort: ports.page };
    const front = new UiFront(root, layout, options.tls !== undefined);
    await front.writeFiles(tools, ports.registry, options);
    front.run(tools);
    await front.untilListening();
    return front;
  }

  get url(): string {
    return `${this.tls ? "https" : "http"}://127.0.0.1:${this.layout.gatePort}`;
  }

  /** The access log's lines, once there are none to come. */
  async accessLog(): Promise<Record<string, unknown>[]> {
    await sleep(100);
    const lines = (await readFile(this.layout.accessLog, "utf8")).trimEnd().split("\n");
    return lines.map((line) => JSON.parse(line));
  }

  logs(): Promise<string[]> {
    return Promise.all([this.layout.accessLog, join(this.root, "gate.log")].map((file) => readFile(file, "utf8")));
  }

  async stop(): Promise<void> {
    if (this.child?.pid) process.kill(-this.child.pid, "SIGKILL");
    await this.child?.ended;
    await rm(this.root, { recursive: true, force: true });
  }

  private run({ busybox }: PodTools): void {
    const [shell = "", ...args] = nginxCommand("gate", this.layout);
    const log = { file: join(this.root, "gate.log"), append: true };
    const child = execa(busybox, [shell, ...args], {
      env: { PATH: `${this.root}/bin` },
      extendEnv: false,
      ...{ stdout: log, stderr: log, stdin: "ignore", detached: true, reject: false, buffer: false },
    });
    this.child = { pid: child.pid, ended: child };
  }

  private async untilListening(): Promise<void> {
    for (let attempt = 0; attempt < 100; attempt++) {
      if (await fetch(`http://127.0.0.1:${this.layout.healthPort}/`).catch(() => undefined)) return;
      await sleep(50);
    }
    throw new Error(`the gate does not listen: ${await readFile(join(this.root, "gate.log"), "utf8")}`);
  }

  private async writeFiles(tools: PodTools, registryPort: number, options: UiFrontOptions): Promise<void> {
    const { layout, root } = this;
    const { tls, ca, ...gate } = options;
    for (const folder of [layout.tmp, layout.config, layout.certificate, `${root}/bin`]) {
      await mkdir(folder, { recursive: true });
      // Under root, nginx's workers are another user; in the pod all processes are the same one.
      await chmod(folder, 0o777);
    }
    await chmod(root, 0o755);
    const registry = { address: `127.0.0.1:${registryPort}`, host: "registry.test" };
    const files = renderUiFiles(layout, {
      ...{ trustedProxies: [], registry, allowDelete: false, ...gate },
      tls: tls !== undefined,
    });
    for (const [name, text] of Object.entries(files)) await writeFile(join(layout.config, name), text);
    if (ca) await writeFile(layout.caFile, ca);
    if (tls) {
      await writeFile(join(layout.certificate, "tls.crt"), tls.certificate);
      await writeFile(join(layout.certificate, "tls.key"), tls.privateKey);
    }
    for (const applet of ["rm", "sh"]) await symlink(tools.busybox, `${root}/bin/${applet}`);
    await symlink(tools.nginx, `${root}/bin/nginx`);
  }
}

/** Stands in for the page's own nginx, and remembers what it was asked. */
export class Page {
  readonly requests: IncomingMessage[] = [];
  readonly port: number;
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on("request", (request, response) => {
      this.requests.push(request);
      response.setHeader("content-type", "text/html").end("<head><title>images</title></head>");
    });
  }

  static async start(): Promise<Page> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Page(server);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
  }
}

async function hostLayout(root: string): Promise<UiLayout> {
  const [gatePort = 0, healthPort = 0, pagePort = 0] = await freePorts(3);
  return {
    ...{ gatePort, healthPort, pagePort, loopback: "127.0.0.1" },
    ...{ tmp: `${root}/tmp`, config: `${root}/config`, certificate: `${root}/certificate`, caFile: `${root}/ca.crt` },
    accessLog: `${root}/access.log`,
  };
}
