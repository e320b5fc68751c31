import { isIP } from "node:net";
import { connect } from "node:tls";
import type { Command } from "commander";
import { POD_LAYOUT } from "../components/registry/layout.ts";
import { printAnswer } from "./answer.ts";
import { Kube } from "./cluster/kube.ts";
import {
  type Deployment,
  findDeployment,
  localstackAccess,
  type RegistryAccess,
  registryAccess,
} from "./deployment.ts";
import { EXIT, UserError } from "./errors.ts";
import { plain, plainJson } from "./plain.ts";
import { type Detour, RegistryClient } from "./registry/client.ts";

/** Options that every command has. */
export interface GlobalOptions {
  /** Context of the kubeconfig. Defaults to its current one. */
  context?: string;
  /** Namespace of the registry, where a cluster holds several deployments. */
  namespace?: string;
  /** Whether to print JSON for scripts. */
  json?: boolean;
}

/** What a command works with: the cluster, the deployment in it, and where its answer goes. */
export class Context {
  readonly kube: Kube;
  readonly json: boolean;
  private readonly namespace: string | undefined;
  private readonly atTheEnd: (() => Promise<void>)[] = [];
  private found: Promise<Deployment> | undefined;
  private readonly noted = new Set<string>();

  constructor({ context, namespace, json = false }: GlobalOptions) {
    this.kube = Kube.load(context);
    this.namespace = namespace;
    this.json = json;
  }

  deployment(): Promise<Deployment> {
    this.found ??= findDeployment(this.kube, this.namespace);
    return this.found;
  }

  async registryAccess(): Promise<RegistryAccess> {
    return await registryAccess(this.kube, await this.deployment());
  }

  async localstackAccess() {
    return await localstackAccess(this.kube, await this.deployment());
  }

  /**
   * The registry as the user who pushes: at its address where this machine reaches that, else through the cluster's API.
   * It is closed when the command ends. `as`: as another user.
   */
  async registry(as?: { user: string; password: string }): Promise<RegistryClient> {
    const access = { ...(await this.registryAccess()), ...as };
    const detour = (await reaches(access)) ? undefined : await this.detour(access);
    const client = new RegistryClient(access, detour);
    this.atTheEnd.push(() => client.close());
    return client;
  }

  private async detour({ namespace, url, gateTls = false }: RegistryAccess): Promise<Detour> {
    const pod = await this.kube.podOf(namespace, "registry");
    if (!pod)
      throw new UserError(`there is no pod of the registry in ${namespace}: see homecloud status`, EXIT.unreachable);
    this.note(`${url} is not reached from here: going through the cluster's API, which is slower`);
    const forward = await this.kube.forward(pod, POD_LAYOUT.gatePort);
    this.atTheEnd.unshift(() => forward.close());
    return { port: forward.port, tls: gateTls };
  }

  /** Prints the answer: as JSON where that was asked for, else as text for a person. */
  print(data: unknown, text: string): void {
    printAnswer(this.json ? plainJson(data) : plain(text));
  }

  /** Tells a person something beside the answer, once. */
  readonly note = (text: string): void => {
    if (!this.json && !this.noted.has(text)) console.error(plain(text));
    this.noted.add(text);
  };

  async end(): Promise<void> {
    for (const close of this.atTheEnd.reverse()) await close();
  }
}

/** How long a machine may take to be connected, in milliseconds. */
const PATIENCE = 3000;

/** Whether this machine gets a verified connection to the registry's address. */
function reaches({ url, ca }: RegistryAccess): Promise<boolean> {
  const { protocol, hostname, port } = new URL(url);
  if (protocol === "http:") return Promise.resolve(true);
  return new Promise((resolve) => {
    // TLS names no addresses (RFC 6066); the certificate is checked against the host either way.
    const servername = isIP(hostname) ? "" : hostname;
    const options = { host: hostname, port: Number(port || 443), servername, ...(ca ? { ca } : {}) };
    const socket = connect(options, () => done(true));
    const done = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(PATIENCE, () => done(false));
    socket.once("error", () => done(false));
  });
}

/** A command's action, given its arguments and then its options: closes what its context has opened however it ends. */
export function withContext<A extends unknown[], O extends object = object>(
  work: (context: Context, ...args: [...A, O]) => Promise<void>,
) {
  return async (...args: [...A, O, Command]): Promise<void> => {
    const command = args.at(-1) as Command;
    const context = new Context(command.optsWithGlobals<GlobalOptions>());
    try {
      await work(context, ...(args.slice(0, -1) as unknown as [...A, O]));
    } finally {
      await context.end();
    }
  };
}
