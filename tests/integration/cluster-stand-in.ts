import { once } from "node:events";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import type { Credentials } from "./client.ts";

/** What a command printed and how it ended. */
export interface Ended {
  exitCode: number | undefined;
  stdout: string;
  stderr: string;
}

export const HOMECLOUD = new URL("../../cli/bin/homecloud", import.meta.url).pathname;

/**
 * As much of a Kubernetes API as the command line reads before it speaks to the registry: where that is, and its login.
 * tests/e2e has the real one. Commands run with a home folder of their own.
 */
export class ClusterStandIn {
  readonly home: string;
  readonly env: Record<string, string>;
  /** What is answered beside: a status, a text, or an object of the API's, by its path. A test may change it. */
  readonly answers: Record<string, number | string | object>;
  private readonly server: Server;

  private constructor(home: string, server: Server, answers: ClusterStandIn["answers"]) {
    this.home = home;
    this.server = server;
    this.answers = answers;
    this.env = {
      PATH: process.env.PATH ?? "",
      HOME: home,
      KUBECONFIG: join(home, "kubeconfig"),
      TMPDIR: join(home, "tmp"),
    };
  }

  static async start(registry: Registry): Promise<ClusterStandIn> {
    const home = await mkdtemp(join(tmpdir(), "homecloud-home-"));
    await mkdir(join(home, "tmp"));
    const answers: ClusterStandIn["answers"] = {};
    const server = createServer((request, response) => {
      const path = decodeURIComponent(new URL(request.url ?? "", "http://api").pathname);
      const answer = answers[path] ?? ANSWERS[path]?.(registry) ?? 404;
      const status = typeof answer === "number" ? answer : 200;
      const body = typeof answer === "number" ? { kind: "Status", code: answer } : answer;
      const isText = typeof body === "string";
      response.writeHead(status, { "content-type": isText ? "text/plain" : "application/json" });
      response.end(isText ? body : JSON.stringify(body));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    await writeFile(join(home, "kubeconfig"), JSON.stringify(kubeconfig(port)));
    await chmod(join(home, "kubeconfig"), 0o600);
    return new ClusterStandIn(home, server, answers);
  }

  /** Runs `homecloud` with these arguments. */
  async run(args: string[], options: { env?: Record<string, string> } = {}): Promise<Ended> {
    return await this.program(HOMECLOUD, args, options);
  }

  async program(
    file: string,
    args: string[],
    { env = {}, input }: { env?: Record<string, string>; input?: string } = {},
  ): Promise<Ended> {
    const { exitCode, stdout, stderr } = await execa(file, args, {
      env: { ...this.env, ...env },
      extendEnv: false,
      reject: false,
      cwd: this.home,
      ...(input === undefined ? { stdin: "ignore" as const } : { input }),
    });
    return { exitCode, stdout, stderr };
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
    await rm(this.home, { recursive: true, force: true });
  }
}

type Registry = { url: string; host: string; user: Credentials; ca?: string };

const ANSWERS: Record<string, (registry: Registry) => object> = {
  "/api/v1/namespaces": () => ({
    kind: "NamespaceList",
    apiVersion: "v1",
    items: [{ metadata: { name: "registry", labels: { "app.kubernetes.io/name": "registry" } } }],
  }),
  "/api/v1/namespaces/registry/secrets/registry-client": ({ url, host, user, ca }) => {
    const data = { url, host, username: user.name, password: user.password, ...(ca ? { "ca.crt": ca } : {}) };
    const encoded = Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString("base64")]);
    return { kind: "Secret", apiVersion: "v1", data: Object.fromEntries(encoded) };
  },
};

const kubeconfig = (port: number) => ({
  apiVersion: "v1",
  kind: "Config",
  "current-context": "home",
  clusters: [{ name: "home", cluster: { server: `http://127.0.0.1:${port}`, "insecure-skip-tls-verify": true } }],
  users: [{ name: "me", user: {} }],
  contexts: [{ name: "home", context: { cluster: "home", user: "me" } }],
});
