import { createHash, randomBytes } from "node:crypto";

/** A user as the registry knows it. */
export interface Credentials {
  name: string;
  password: string;
}

export const basic = ({ name, password }: Credentials): { authorization: string } => ({
  authorization: `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`,
});

export const sha256 = (content: Uint8Array | string): string =>
  `sha256:${createHash("sha256").update(content).digest("hex")}`;

/** The registry's error answer: `{"errors": [{code, message}]}`. */
export interface RegistryError {
  code: string;
  message: string;
  detail?: unknown;
}

/** First error of an answer, or undefined where it is none in the registry's form. */
export async function errorOf(answer: Response): Promise<RegistryError | undefined> {
  const body = (await answer.json().catch(() => undefined)) as { errors?: RegistryError[] } | undefined;
  return body?.errors?.[0];
}

/** A registry client that behaves like Docker: one request after the other, uploads in one chunk without a length. */
export class RegistryClient {
  readonly url: string;
  readonly user: Credentials | undefined;

  constructor(url: string, user?: Credentials) {
    this.url = url;
    this.user = user;
  }

  request(path: string, init: RequestInit = {}): Promise<Response> {
    // nginx ends the connection of a write that it refuses before its body has come, though it has said keep-alive (seen: FIN
    // 0.2 ms after the 503). Another of this client's requests on that connection would fail without an answer.
    const connection = init.body ? { connection: "close" } : {};
    const headers = {
      ...(this.user ? basic(this.user) : {}),
      ...connection,
      ...(init.headers as Record<string, string>),
    };
    return fetch(new URL(path, this.url), { ...init, headers });
  }

  /** Begins an upload; where it is refused, the answer says why. */
  async beginUpload(repository: string): Promise<{ answer: Response; location: string }> {
    const answer = await this.request(`/v2/${repository}/blobs/uploads/`, { method: "POST" });
    return { answer, location: answer.headers.get("location") ?? "" };
  }

  /** Whether an upload may begin now. */
  async takesWrites(): Promise<boolean> {
    return (await this.beginUpload("probe")).answer.status === 202;
  }

  /** Pushes a blob. Throws the registry's error where one of the steps is refused. */
  async pushBlob(repository: string, content: Uint8Array): Promise<string> {
    const { answer, location } = await this.beginUpload(repository);
    await expectStatus(answer, 202);
    const patch = await this.request(location, {
      method: "PATCH",
      body: new Uint8Array(content),
      headers: { "content-type": "application/octet-stream" },
    });
    await expectStatus(patch, 202);
    const end = new URL(patch.headers.get("location") ?? "", this.url);
    end.searchParams.set("digest", sha256(content));
    await expectStatus(await this.request(`${end.pathname}${end.search}`, { method: "PUT" }), 201);
    return sha256(content);
  }

  /** Pushes an image of one random layer. Returns its manifest's digest. */
  async pushImage(repository: string, tag: string, layerBytes = 1024): Promise<string> {
    const layer = randomBytes(layerBytes);
    const config = Buffer.from(
      JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [sha256(layer)] } }),
    );
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: {
        mediaType: "application/vnd.oci.image.config.v1+json",
        digest: await this.pushBlob(repository, config),
        size: config.length,
      },
      layers: [
        {
          mediaType: "application/vnd.oci.image.layer.v1.tar",
          digest: await this.pushBlob(repository, layer),
          size: layer.length,
        },
      ],
    });
    await expectStatus(await this.putManifest(repository, tag, manifest), 201);
    return sha256(manifest);
  }

  putManifest(
    repository: string,
    reference: string,
    manifest: string,
    mediaType: string = OCI_MANIFEST,
  ): Promise<Response> {
    return this.request(`/v2/${repository}/manifests/${reference}`, {
      method: "PUT",
      body: manifest,
      headers: { "content-type": mediaType },
    });
  }

  /** Pulls an image whole and checks every digest. Returns its manifest's. */
  async pullImage(repository: string, reference: string): Promise<string> {
    const answer = await this.request(`/v2/${repository}/manifests/${reference}`, {
      headers: { accept: OCI_MANIFEST },
    });
    await expectStatus(answer, 200);
    const text = await answer.text();
    const manifest = JSON.parse(text) as { config: { digest: string }; layers: { digest: string }[] };
    for (const { digest } of [manifest.config, ...manifest.layers]) {
      const blob = await this.request(`/v2/${repository}/blobs/${digest}`);
      await expectStatus(blob, 200);
      if (sha256(new Uint8Array(await blob.arrayBuffer())) !== digest)
        throw new Error(`${repository}: blob ${digest} came back different`);
    }
    return sha256(text);
  }

  deleteManifest(repository: string, digest: string): Promise<Response> {
    return this.request(`/v2/${repository}/manifests/${digest}`, { method: "DELETE" });
  }
}

export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";

/** Thrown where the registry refuses, with its own words. */
export class Refused extends Error {
  readonly status: number;
  readonly error: RegistryError | undefined;

  constructor(status: number, error: RegistryError | undefined) {
    super(`${status} ${error?.code}: ${error?.message}`);
    this.status = status;
    this.error = error;
  }
}

async function expectStatus(answer: Response, status: number): Promise<void> {
  if (answer.status !== status) throw new Refused(answer.status, await errorOf(answer));
}
