import { createHash } from "node:crypto";
import { UserError } from "../errors.ts";
import { type RegistryClient, RegistryError } from "../registry/client.ts";
import type { Failures, Retries } from "./retries.ts";
import type { OnPosition } from "./upload.ts";

/**
 * A blob's bytes, as they come. A broken connection goes on where it broke; at the end they are what the digest stands for,
 * or it throws.
 */
export async function* readBlob(
  registry: RegistryClient,
  retries: Retries,
  repository: string,
  { digest, size }: { digest: string; size: number },
  onPosition: OnPosition,
): AsyncGenerator<Buffer> {
  const hash = createHash("sha256");
  let failures: Failures = { count: 0, waited: 0 };
  let at = 0;
  while (at < size) {
    try {
      for await (const chunk of range(registry, repository, digest, at)) {
        hash.update(chunk);
        yield chunk;
        at += chunk.length;
        failures = { count: 0, waited: 0 };
        onPosition(at);
      }
      if (at < size) throw new RegistryError(`${repository}@${digest} broke off after ${at} of ${size} bytes`);
    } catch (error) {
      await retries.pause(error, failures);
    }
  }
  const found = `sha256:${hash.digest("hex")}`;
  if (at !== size || found !== digest) {
    throw new UserError(`${repository}: the registry's blob ${digest} is damaged: its content is ${found}`);
  }
}

async function* range(
  registry: RegistryClient,
  repository: string,
  digest: string,
  start: number,
): AsyncGenerator<Buffer> {
  const headers: Record<string, string> = start > 0 ? { range: `bytes=${start}-` } : {};
  const answer = await registry.ask("GET", `/v2/${repository}/blobs/${digest}`, { headers });
  // Who does not know ranges sends it all.
  let skip = answer.statusCode === 206 ? 0 : start;
  try {
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      const rest = chunk.subarray(Math.min(skip, chunk.length));
      skip -= chunk.length - rest.length;
      if (rest.length > 0) yield rest;
    }
  } catch (error) {
    throw new RegistryError(`${repository}@${digest.slice(0, 19)}: ${(error as Error).message}`);
  }
}
