import pMap from "p-map";
import type { RegistryClient } from "../registry/client.ts";
import { type Bars, shortDigest } from "./bars.ts";
import type { Retries } from "./retries.ts";
import { blobsOf, type ImageTree } from "./tree.ts";
import { type Sent, sendBlob } from "./upload.ts";

/** Blobs that are sent at a time. More does not fill a network better. */
const AT_ONCE = 4;

/** What a push did. */
export interface Pushed {
  digest: string;
  blobs: Record<Sent, number>;
  /** Bytes that were sent. */
  sentBytes: number;
}

export interface PushOptions {
  retries: Retries;
  bars: Bars;
  /** A repository of the same registry that may have a blob. */
  knownIn?: (digest: string) => string | undefined;
  /** Told of each blob that is in the repository now. */
  onBlob?: (digest: string) => void;
}

/**
 * Pushes an image, or a list of images with all of them: first what a manifest names, then the manifest, so that whoever
 * pulls the tag meanwhile gets the old image or the new one.
 */
export async function pushImage(
  registry: RegistryClient,
  tree: ImageTree,
  repository: string,
  tag: string,
  { retries, bars, knownIn = () => undefined, onBlob = () => {} }: PushOptions,
): Promise<Pushed> {
  const pushed: Pushed = { digest: tree.digest, blobs: { sent: 0, present: 0, mounted: 0 }, sentBytes: 0 };
  await pMap(
    blobsOf(tree),
    async (blob) => {
      const bar = bars.start(shortDigest(blob.digest), blob.size);
      const known = knownIn(blob.digest);
      const from = known === repository ? undefined : known;
      const how = await sendBlob(registry, retries, repository, blob, from, bar.at);
      bar.end(TOLD[how]);
      onBlob(blob.digest);
      pushed.blobs[how]++;
      if (how === "sent") pushed.sentBytes += blob.size;
    },
    { concurrency: AT_ONCE },
  ).catch((error: unknown) => {
    retries.stop();
    throw error;
  });
  await sendManifests(registry, retries, repository, tree, tag);
  return pushed;
}

const TOLD: Record<Sent, string> = {
  sent: "pushed",
  present: "already there",
  mounted: "taken from another repository",
};

/** The parts of a list by their digests, before the list: the registry takes none whose parts it does not know. */
async function sendManifests(
  registry: RegistryClient,
  retries: Retries,
  repository: string,
  tree: ImageTree,
  reference: string,
): Promise<void> {
  for (const part of tree.parts) await sendManifests(registry, retries, repository, part, part.digest);
  const { mediaType, bytes } = tree;
  const options = { headers: { "content-type": mediaType }, body: bytes };
  await retries.run(async () => {
    const answer = await registry.ask("PUT", `/v2/${repository}/manifests/${reference}`, options);
    await answer.body.dump();
  });
}
