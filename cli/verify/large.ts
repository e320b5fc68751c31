import { makeBars } from "../transfer/bars.ts";
import { pushImage } from "../transfer/push.ts";
import { forgetImages } from "./forget.ts";
import { fewRetries, imageOf, randomBlob } from "./image.ts";
import type { Run } from "./run.ts";

/** What the limits of push and pull are about. */
export const LARGE = 500_000_000;
/** How long each may take, in seconds. */
export const LIMIT = 30;
/** That, and the time to make up the bytes on a slow machine. */
export const PATIENCE = 90;

export interface LargePush {
  tag: string;
  digest: string;
  /** How long it took, in milliseconds. */
  took: number;
}

/** A transfer that was given up at its limit. */
export class TooSlow extends Error {
  constructor(moved: number) {
    super(`only ${megabytes(moved)} in ${LIMIT} s`);
  }
}

export const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;

/** Pushes the large image. Throws TooSlow where that takes too long. */
export async function pushLarge(run: Run): Promise<LargePush> {
  const registry = await run.newRegistry();
  run.onProgress(`making ${megabytes(LARGE)} of random bytes`);
  const tree = imageOf(await randomBlob(LARGE));
  run.leaves(`repository ${run.repository}`, () => forgetImages(run));
  const retries = fewRetries();
  return await timed(run, registry, async (at) => {
    const bars = { ...makeBars(true), start: () => ({ at, end: () => {} }) };
    await pushImage(registry, tree, run.repository, "large", { retries, bars });
    return { tag: "large", digest: tree.digest };
  });
}

/** Times a transfer, and cuts its connections at the limit. */
export async function timed<T>(
  run: Run,
  connections: { destroy(): Promise<void> },
  transfer: (at: (position: number) => void) => Promise<T>,
): Promise<T & { took: number }> {
  let moved = 0;
  const at = (position: number) => {
    moved = Math.max(moved, position);
    run.onProgress(`${megabytes(moved)} of ${megabytes(LARGE)}`);
  };
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new TooSlow(moved)), LIMIT * 1000);
  const begun = performance.now();
  const transferred = transfer(at);
  try {
    const result = await Promise.race([transferred, late.promise]);
    return { ...result, took: performance.now() - begun };
  } catch (error) {
    transferred.catch(() => {});
    await connections.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
