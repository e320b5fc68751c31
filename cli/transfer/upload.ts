import { Readable } from "node:stream";
import { UserError } from "../errors.ts";
import { type RegistryClient, RegistryError } from "../registry/client.ts";
import { locationOf } from "../registry/location.ts";
import type { Retries } from "./retries.ts";
import type { Blob } from "./tree.ts";

/** How a blob got there. */
export type Sent = "sent" | "present" | "mounted";

/** Told where an upload stands, in bytes: it may go back, where a connection broke. */
export type OnPosition = (bytes: number) => void;

/** An upload that the registry keeps open. */
interface Upload {
  path: string;
  /** Bytes that it has. */
  offset: number;
}

/**
 * Sends a blob, unless the registry has it: in this repository, or in `from`, where it is taken over without a byte sent. A
 * broken connection goes on where it broke.
 */
export async function sendBlob(
  registry: RegistryClient,
  retries: Retries,
  repository: string,
  blob: Blob,
  from: string | undefined,
  onPosition: OnPosition,
): Promise<Sent> {
  if (await retries.run(() => hasBlob(registry, repository, blob.digest))) return "present";
  let upload: Upload | undefined;
  return await retries.run(async () => {
    upload = upload && (await position(registry, upload));
    upload ??= await begin(registry, repository, from ? { from, mount: blob.digest } : {});
    if (!upload) return "mounted";
    onPosition(upload.offset);
    await send(registry, retries, upload, blob, onPosition);
    return "sent";
  });
}

export async function hasBlob(registry: RegistryClient, repository: string, digest: string): Promise<boolean> {
  try {
    await (await registry.ask("HEAD", `/v2/${repository}/blobs/${digest}`, {})).body.dump();
    return true;
  } catch (error) {
    if (error instanceof RegistryError && error.status === 404) return false;
    throw error;
  }
}

/** Begins an upload; undefined where the blob was taken over from another repository. */
async function begin(
  registry: RegistryClient,
  repository: string,
  mount: Record<string, string>,
): Promise<Upload | undefined> {
  const query = new URLSearchParams(mount).toString();
  const answer = await registry.ask("POST", `/v2/${repository}/blobs/uploads/${query && `?${query}`}`, {});
  await answer.body.dump();
  return answer.statusCode === 201 ? undefined : { path: locationOf(answer.headers.location), offset: 0 };
}

/** Where a broken upload stands; undefined where it has to begin anew. */
async function position(registry: RegistryClient, { path }: Upload): Promise<Upload | undefined> {
  try {
    const answer = await registry.ask("GET", path, {});
    await answer.body.dump();
    const last = Number(/^0-(\d+)$/.exec(String(answer.headers.range))?.[1] ?? 0);
    // `0-0` is said of an upload of no byte as of one.
    return last > 0 ? { path: locationOf(answer.headers.location), offset: last + 1 } : undefined;
  } catch (error) {
    if (error instanceof RegistryError && error.status !== undefined && error.status < 500) return undefined;
    throw error;
  }
}

async function send(
  registry: RegistryClient,
  retries: Retries,
  upload: Upload,
  blob: Blob,
  onPosition: OnPosition,
): Promise<void> {
  const headers = { "content-type": "application/octet-stream", "content-length": String(blob.size - upload.offset) };
  const body = Readable.from(told(retries, blob.open(upload.offset), upload.offset, onPosition), { objectMode: false });
  try {
    const patched = await registry.ask("PATCH", upload.path, { headers, body });
    await patched.body.dump();
    const end = `${locationOf(patched.headers.location)}&digest=${blob.digest}`;
    await (await registry.ask("PUT", end, { headers: { "content-length": "0" } })).body.dump();
  } catch (error) {
    throw explained(error, blob);
  } finally {
    body.destroy();
  }
}

/** What an answer to an upload means for the person, or for the next try. */
function explained(error: unknown, { digest }: Blob): unknown {
  if (!(error instanceof RegistryError)) return error;
  if (error.code === "DIGEST_INVALID") {
    return new UserError(`the blob ${digest} has not the content that its digest stands for: the archive is damaged`);
  }
  // The registry still writes what came before the connection broke, or has dropped the upload: asked again, it knows.
  if (error.status === 404 || error.status === 416) return new RegistryError(error.message);
  return error;
}

async function* told(
  retries: Retries,
  source: AsyncIterable<Buffer>,
  offset: number,
  onPosition: OnPosition,
): AsyncGenerator<Buffer> {
  let at = offset;
  for await (const chunk of source) {
    if (retries.stopped) throw new Error("another transfer has failed");
    yield chunk;
    at += chunk.length;
    onPosition(at);
  }
}
