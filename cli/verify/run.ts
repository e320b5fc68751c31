import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Agent } from "undici";
import type { Kube } from "../cluster/kube.ts";
import type { Context } from "../context.ts";
import type { Deployment, LocalStackAccess, RegistryAccess } from "../deployment.ts";
import { later } from "../later.ts";
import { RegistryClient } from "../registry/client.ts";
import { type Aws, awsOf } from "./aws.ts";
import { sentence } from "./criterion.ts";
import { type PushedImage, pushSmall } from "./image.ts";
import { type LargePush, pushLarge } from "./large.ts";

const undici = later<typeof import("undici")>("undici");

/** Where images of all runs go, a repository for each. */
export const REPOSITORIES = "homecloud-verify";

/** What the names of everything else begin with. */
export const PREFIX = "homecloud-verify-";

export interface Login {
  user: string;
  password: string;
}

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
}

/** Something that a run has made, and how it goes again. */
interface Made {
  what: string;
  remove(): Promise<void>;
}

/**
 * One run of `verify`: what the criteria share, made when the first of them needs it, and all that has to go again. The
 * deployment is asked at its addresses as any client asks, never through the cluster's API.
 */
export class Run {
  /** When it began, in seconds, and something that no other run has: names of leftovers tell their age. */
  readonly name = `${Math.floor(Date.now() / 1000)}-${randomBytes(4).toString("hex")}`;
  readonly repository = `${REPOSITORIES}/${this.name}`;
  readonly kube: Kube;
  readonly deployment: Deployment;
  /** Whether the pods may be restarted; else why not. */
  readonly restarts: true | string;
  /** Told what a person may want to know meanwhile. */
  onProgress: (text: string) => void = () => {};

  private readonly ending = new AbortController();
  private readonly context: Context;
  private readonly made: Made[] = [];
  private readonly clients: RegistryClient[] = [];
  private readonly agents = new Map<string, Agent>();
  private shared: RegistryClient | undefined;
  private small: Promise<PushedImage> | undefined;
  private large: Promise<LargePush> | undefined;
  private awsClients: Promise<Aws> | undefined;

  constructor(context: Context, deployment: Deployment, restarts: true | string) {
    this.context = context;
    this.kube = context.kube;
    this.deployment = deployment;
    this.restarts = restarts;
  }

  registryAccess(): Promise<RegistryAccess> {
    return this.context.registryAccess();
  }

  localstackAccess(): Promise<LocalStackAccess> {
    return this.context.localstackAccess();
  }

  /** The registry as the user who pushes. */
  async registry(): Promise<RegistryClient> {
    this.shared ??= await this.newRegistry();
    return this.shared;
  }

  /** The same with connections of its own, which can be cut; as another user where a login is given. */
  async newRegistry(login?: Login): Promise<RegistryClient> {
    const client = new RegistryClient({ ...(await this.registryAccess()), ...login });
    this.clients.push(client);
    return client;
  }

  /** A small image in the registry. */
  smallImage(): Promise<PushedImage> {
    this.small ??= pushSmall(this);
    return this.small;
  }

  /** The large one, and how long its push took. */
  largeImage(): Promise<LargePush> {
    this.large ??= pushLarge(this);
    return this.large;
  }

  aws(): Promise<Aws> {
    this.awsClients ??= this.localstackAccess().then(awsOf);
    return this.awsClients;
  }

  get usesLocalStack(): boolean {
    return this.awsClients !== undefined;
  }

  /** Aborted when nothing is measured any more. */
  get signal(): AbortSignal {
    return this.ending.signal;
  }

  /** Throws when nothing is measured any more. */
  async pause(milliseconds: number): Promise<void> {
    await sleep(milliseconds, undefined, { signal: this.signal });
  }

  /** Asks once, and takes every answer for one. */
  async ask(
    url: URL | string,
    options: { login?: Login; method?: "GET" | "POST" | "DELETE"; ca?: string | undefined } = {},
  ): Promise<Answer> {
    const { login, method = "GET", ca } = options;
    const authorization = login && `Basic ${Buffer.from(`${login.user}:${login.password}`).toString("base64")}`;
    const answer = await undici().request(url, {
      method,
      dispatcher: this.agent(ca),
      ...(authorization ? { headers: { authorization } } : {}),
    });
    return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() };
  }

  private agent(ca = ""): Agent {
    const known = this.agents.get(ca);
    if (known) return known;
    const agent = new (undici().Agent)({ connect: { timeout: 5000, ...(ca ? { ca } : {}) }, headersTimeout: 30_000 });
    this.agents.set(ca, agent);
    return agent;
  }

  /** Remembers what has to go at the end. The last that was made goes first. */
  leaves(what: string, remove: () => Promise<void>): void {
    if (this.made.some((each) => each.what === what)) return;
    this.made.push({ what, remove });
  }

  /** Removes all of it. Returns what was removed, and what was not with the reason. */
  async clean(): Promise<{ removed: string[]; left: string[] }> {
    const removed: string[] = [];
    const left: string[] = [];
    for (const { what, remove } of this.made.splice(0).reverse()) {
      try {
        await remove();
        removed.push(what);
      } catch (error) {
        if (!isGone(error)) left.push(`${what} (${sentence(error)})`);
      }
    }
    return { removed, left };
  }

  /** Ends what is still being measured, and every connection to the registry. */
  async stop(): Promise<void> {
    this.ending.abort();
    await Promise.all([...this.agents.values(), ...this.clients].map((each) => each.destroy()));
  }

  /** Ends the rest. */
  async end(): Promise<void> {
    await this.stop();
    const aws = await this.awsClients?.catch(() => undefined);
    aws?.end();
  }
}

/** Gone already: a LocalStack that has lost its data, for example. */
const isGone = (error: unknown): boolean =>
  /^(NoSuchBucket|QueueDoesNotExist|NotFound(Exception)?|ResourceNotFoundException)$/.test((error as Error).name);
