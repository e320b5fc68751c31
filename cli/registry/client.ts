import { isIP } from "node:net";
import type { Readable } from "node:stream";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import type { Agent, Dispatcher } from "undici";
import type { RegistryAccess } from "../deployment.ts";
import { EXIT, UserError } from "../errors.ts";
import { later } from "../later.ts";
import { locationOf } from "./location.ts";

const undici = later<typeof import("undici")>("undici");

/** What a client may be answered with: an image of one platform, or a list of them. */
const MANIFEST_TYPES = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
] as const;

export interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  platform?: { os?: string; architecture?: string; variant?: string };
  annotations?: Record<string, string>;
}

/** A manifest as it is stored: its bytes are what its digest stands for. */
export interface Manifest {
  digest: string;
  mediaType: string;
  bytes: Buffer;
  /** Of an image of one platform. */
  config?: Descriptor;
  layers?: Descriptor[];
  /** Of a list of images. */
  manifests?: Descriptor[];
}

/** Where the client asks, when not at the address that clients use: a port that leads to the gate. */
export interface Detour {
  port: number;
  /** Whether the gate ends TLS itself. Where an ingress does, it speaks plain HTTP. Defaults to no. */
  tls?: boolean;
}

/** An answer that came to its end. */
interface Whole {
  status: number;
  headers: Dispatcher.ResponseData["headers"];
  bytes: Buffer;
}

/** A request that the registry refused, or did not answer. */
export class RegistryError extends UserError {
  /** Undefined where there was no answer. */
  readonly status: number | undefined;
  /** The code of the registry's own form: DENIED, UNAVAILABLE … */
  readonly code: string | undefined;
  /** Seconds after which the registry wants to be asked again. */
  readonly retryAfter: number | undefined;

  constructor(
    message: string,
    answer: { status?: number | undefined; code?: string | undefined; retryAfter?: number | undefined } = {},
  ) {
    super(message, answer.status === 404 ? EXIT.missing : EXIT.failed);
    this.status = answer.status;
    this.code = answer.code;
    this.retryAfter = answer.retryAfter;
  }
}

/** The registry, as one of its users. Each method throws a RegistryError with what the registry said. */
export class RegistryClient {
  readonly access: RegistryAccess;
  private readonly dispatcher: Agent;
  private readonly base: string;

  constructor(access: RegistryAccess, detour?: Detour) {
    this.access = access;
    const { hostname } = new URL(access.url);
    this.base = detour ? `${detour.tls ? "https" : "http"}://127.0.0.1:${detour.port}` : access.url;
    const tls = { ...(access.ca ? { ca: access.ca } : {}), ...(detour ? asIfAt(hostname) : {}) };
    this.dispatcher = new (undici().Agent)({ connect: tls, headersTimeout: 900_000, bodyTimeout: 900_000 });
  }

  close(): Promise<void> {
    return this.dispatcher.close();
  }

  /** Ends what is under way, too. */
  destroy(): Promise<void> {
    return this.dispatcher.destroy();
  }

  /** Names of all repositories, in their order. */
  async repositories(): Promise<string[]> {
    return await this.list("/v2/_catalog?n=1000", "repositories");
  }

  /** Tags of a repository, in their order. Throws where there is no such repository. */
  async tags(repository: string): Promise<string[]> {
    return await this.list(`/v2/${repository}/tags/list?n=1000`, "tags").catch((error: Error) => {
      throw this.missing(error, repository);
    });
  }

  /** A manifest by tag or digest. Throws where there is none. */
  async manifest(repository: string, reference: string): Promise<Manifest> {
    const accept = MANIFEST_TYPES.join(", ");
    const path = `/v2/${repository}/manifests/${reference}`;
    const answer = await this.whole(path, { accept }).catch((error: Error) => {
      throw this.missing(error, repository, reference);
    });
    const { bytes } = answer;
    const { config, layers, manifests, mediaType } = this.parsed<Partial<Manifest>>(path, answer);
    return {
      digest: String(answer.headers["docker-content-digest"] ?? ""),
      mediaType: String(answer.headers["content-type"] ?? mediaType ?? ""),
      bytes,
      ...(config ? { config } : {}),
      ...(layers ? { layers } : {}),
      ...(manifests ? { manifests } : {}),
    };
  }

  /** Deletes a tag; other tags of the same manifest stay. Throws where there is none. */
  async untag(repository: string, tag: string): Promise<void> {
    const answer = await this.ask("DELETE", `/v2/${repository}/manifests/${tag}`, {}).catch((error: Error) => {
      throw this.missing(error, repository, tag);
    });
    await answer.body.dump();
  }

  /** A small blob that is JSON: an image's configuration. */
  async json<T extends object>(repository: string, digest: string): Promise<T> {
    const path = `/v2/${repository}/blobs/${digest}`;
    return this.parsed<T>(path, await this.whole(path));
  }

  /** What the registry answers where something is not there, as a person asked for it. Other errors stay as they are. */
  private missing(error: Error, repository: string, reference?: string): Error {
    if (!(error instanceof RegistryError) || error.status !== 404) return error;
    const { host } = this.access;
    if (!reference || error.code === "NAME_UNKNOWN") {
      return new RegistryError(`there is no repository ${repository} in ${host}: homecloud ls lists them`, error);
    }
    const image = `${repository}${reference.includes(":") ? "@" : ":"}${reference}`;
    return new RegistryError(`there is no ${image} in ${host}: homecloud ls ${repository} lists what there is`, error);
  }

  /** Pages of a list, until there is no next one. */
  private async list(first: string, key: "repositories" | "tags"): Promise<string[]> {
    const all: string[] = [];
    let path: string | undefined = first;
    while (path) {
      const answer: Whole = await this.whole(path);
      all.push(...(this.parsed<Record<string, string[] | null>>(path, answer)[key] ?? []));
      const next = /<([^>]+)>; *rel="next"/.exec(String(answer.headers.link ?? ""))?.[1];
      path = next && locationOf(next);
    }
    return all;
  }

  /** What is at a path, to its last byte. */
  private async whole(path: string, headers: Record<string, string> = {}): Promise<Whole> {
    const answer = await this.ask("GET", path, { headers });
    const body = await answer.body.arrayBuffer().catch((error: Error) => {
      throw new RegistryError(`${this.place(path)} broke off: ${error.message}`);
    });
    return { status: answer.statusCode, headers: answer.headers, bytes: Buffer.from(body) };
  }

  private parsed<T extends object>(path: string, { status, bytes }: Whole): T {
    const parsed = jsonObject<T>(bytes.toString());
    if (!parsed)
      throw new RegistryError(`${this.place(path)}: the answer is no JSON, as a registry's would be`, { status });
    return parsed;
  }

  /** A path as people know it. */
  private place(path: string): string {
    return `${this.access.host}/${path.replace(/^\/v2\//, "").replace(/\?.*$/, "")}`;
  }

  /** One request. Answers of 300 and more are errors, in the registry's own words. */
  async ask(
    method: Dispatcher.HttpMethod,
    path: string,
    options: { headers?: Record<string, string>; body?: Buffer | Readable },
  ): Promise<Dispatcher.ResponseData> {
    const { user, password, host } = this.access;
    const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
    const url = new URL(path, this.base);
    const answer = await undici()
      .request(url, {
        method,
        dispatcher: this.dispatcher,
        headers: { host, authorization, ...options.headers },
        ...(options.body ? { body: options.body } : {}),
      })
      .catch((error: Error & { code?: string }) => {
        const why = [error.code, error.message].filter(Boolean).join(" ");
        throw new RegistryError(`the registry at ${this.base} does not answer: ${why}`);
      });
    if (answer.statusCode < 300) return answer;
    throw await refusal(answer, `${method} was answered with ${answer.statusCode}`, this.place(path));
  }
}

/** On a detour the certificate is the one of the address that clients use. TLS names no addresses (RFC 6066). */
const asIfAt = (hostname: string) => ({
  servername: isIP(hostname) ? "" : hostname,
  checkServerIdentity: (_: string, certificate: PeerCertificate) => checkServerIdentity(hostname, certificate),
});

async function refusal(answer: Dispatcher.ResponseData, what: string, place: string): Promise<RegistryError> {
  const status = answer.statusCode;
  const errors = registryErrors(await answer.body.text().catch(() => ""));
  const said = errors?.map(({ code, message }) => `${message} (${code})`).join("; ");
  const wait = Number(answer.headers["retry-after"] ?? Number.NaN);
  const why = status < 400 ? `${what}, ${redirect(answer.headers.location)}` : (said ?? what);
  return new RegistryError(`${place}: ${why}`, {
    status,
    code: errors?.[0]?.code,
    ...(wait >= 0 ? { retryAfter: wait } : {}),
  });
}

/** The gate redirects nobody who asks as it wants to be asked: a login page before it would. */
function redirect(location: string | string[] | undefined): string {
  const to = URL.parse(String(location ?? ""))?.host || "a page of the same host";
  return `a redirect to ${to}: something before the registry answers in its place`;
}

/** The registry's errors are JSON: the code, and what it says. */
function registryErrors(text: string): { code: string; message: string }[] | undefined {
  const { errors } = jsonObject<{ errors?: { code: string; message: string }[] }>(text) ?? {};
  return Array.isArray(errors) && errors.length > 0 ? errors : undefined;
}

function jsonObject<T extends object>(text: string): T | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as T) : undefined;
  } catch {
    return undefined;
  }
}
