import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import type { IncomingMessage } from "node:http";
import { Agent, type RequestOptions, request } from "node:https";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

/** A registry as a client knows it. */
export interface Target {
  /** For example `https://127.0.0.1:30500`. */
  url: string;
  /** CA that its certificate is checked against, PEM. */
  ca: string;
  /** Undefined where the registry asks for no login. */
  user?: { name: string; password: string };
}

/** A blob that can be sent; a file's content is streamed. */
export interface Blob {
  digest: string;
  size: number;
  content: Buffer | { file: string };
}

export interface Image {
  config: Blob;
  layer: Blob;
}

interface Answer {
  status: number;
  headers: IncomingMessage["headers"];
  body: IncomingMessage;
}

type Body = Buffer | Readable;

const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";

/** How much of a file is read at a time. */
const CHUNK = 256 * 1024;

/**
 * One `docker push` or `docker pull`: a connection of its own, a ping without a login first, a HEAD before each upload, an
 * upload in one chunk without a length. A small image takes ten requests, nine of them with the login.
 */
export class DockerClient {
  private readonly target: Target;
  private readonly agent: Agent;

  constructor(target: Target) {
    this.target = target;
    this.agent = new Agent({ keepAlive: true, maxSockets: 1, ca: target.ca });
  }

  /** The ping that every client begins with; a registry with a login answers 401. */
  async ping(): Promise<void> {
    await this.expect(this.target.user ? 401 : 200, "GET", "/v2/", { anonymous: true });
  }

  /** What `docker login` asks. */
  async login(): Promise<void> {
    await this.expect(200, "GET", "/v2/");
  }

  async push(repository: string, tag: string, { config, layer }: Image): Promise<void> {
    await this.ping();
    await this.pushBlob(repository, layer);
    await this.pushBlob(repository, config);
    const manifest = {
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: config.digest, size: config.size },
      layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: layer.digest, size: layer.size }],
    };
    const body = Buffer.from(JSON.stringify(manifest));
    const headers = { "content-type": OCI_MANIFEST, "content-length": body.length };
    await this.expect(201, "PUT", `/v2/${repository}/manifests/${tag}`, { headers, body });
  }

  /** Pulls the image whole and checks every digest. */
  async pull(repository: string, tag: string): Promise<void> {
    await this.ping();
    const text = await this.expect(200, "GET", `/v2/${repository}/manifests/${tag}`, {
      headers: { accept: OCI_MANIFEST },
    });
    const manifest = JSON.parse(text) as { config: { digest: string }; layers: { digest: string }[] };
    for (const { digest } of [manifest.config, ...manifest.layers]) await this.pullBlob(repository, digest);
  }

  close(): void {
    this.agent.destroy();
  }

  private async pushBlob(repository: string, { digest, content }: Blob): Promise<void> {
    await this.expect(404, "HEAD", `/v2/${repository}/blobs/${digest}`);
    const begun = await this.send("POST", `/v2/${repository}/blobs/uploads/`, { headers: { "content-length": 0 } });
    await checked(begun, 202, "POST");
    const body = Buffer.isBuffer(content) ? content : createReadStream(content.file, { highWaterMark: CHUNK });
    const headers = { "content-type": "application/octet-stream", "transfer-encoding": "chunked" };
    const sent = await this.send("PATCH", this.location(begun), { headers, body });
    await checked(sent, 202, "PATCH");
    const end = new URL(this.location(sent), this.target.url);
    end.searchParams.set("digest", digest);
    await this.expect(201, "PUT", `${end.pathname}${end.search}`, { headers: { "content-length": 0 } });
  }

  private async pullBlob(repository: string, digest: string): Promise<void> {
    const path = `/v2/${repository}/blobs/${digest}`;
    const answer = await this.send("GET", path);
    if (answer.status !== 200) await checked(answer, 200, `GET ${path}`);
    const hash = createHash("sha256");
    for await (const chunk of answer.body) hash.update(chunk as Buffer);
    if (`sha256:${hash.digest("hex")}` !== digest) throw new Error(`${path} came back different`);
  }

  private location({ headers }: Answer): string {
    const { pathname, search } = new URL(headers.location ?? "", this.target.url);
    return `${pathname}${search}`;
  }

  private async expect(status: number, method: string, path: string, options: SendOptions = {}): Promise<string> {
    return checked(await this.send(method, path, options), status, `${method} ${path}`);
  }

  private send(method: string, path: string, { headers, body, anonymous }: SendOptions = {}): Promise<Answer> {
    const { url, user } = this.target;
    const login = user && !anonymous ? { auth: `${user.name}:${user.password}` } : {};
    return new Promise((resolve, reject) => {
      const sent = request(new URL(path, url), { method, agent: this.agent, headers: { ...headers }, ...login });
      sent.once("response", (body) => resolve({ status: body.statusCode ?? 0, headers: body.headers, body }));
      sent.once("error", reject);
      if (body instanceof Readable) pipeline(body, sent).catch(reject);
      else sent.end(body);
    });
  }
}

interface SendOptions {
  headers?: RequestOptions["headers"];
  body?: Body;
  /** Whether the login is left out. */
  anonymous?: boolean;
}

/** The answer's text. Throws where its status is another one. */
async function checked({ status, body }: Answer, expected: number, what: string): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  if (status !== expected) throw new Error(`${what}: ${status} instead of ${expected} ${text.slice(0, 300)}`);
  return text;
}

/** An image that no registry has: its config and, unless one is given, its layer of 1 KiB are random. */
export function newImage(layer: Blob = bufferBlob(randomBytes(1024))): Image {
  const config = { architecture: "amd64", os: "linux", created_by: randomBytes(8).toString("hex") };
  const rootfs = { type: "layers", diff_ids: [layer.digest] };
  return { layer, config: bufferBlob(Buffer.from(JSON.stringify({ ...config, rootfs }))) };
}

function bufferBlob(content: Buffer): Blob {
  return { content, size: content.length, digest: `sha256:${createHash("sha256").update(content).digest("hex")}` };
}
