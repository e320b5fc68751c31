import { setTimeout as sleep } from "node:timers/promises";
import { type Criterion, fail, type Outcome, pass, sentence } from "./criterion.ts";
import { removeFromLocalStack, removeNamespaces } from "./leftovers.ts";
import type { Run } from "./run.ts";

/** A line of the table. */
export interface Row extends Outcome {
  id: string;
  title: string;
  limit: string;
}

/** Measures one criterion. Whatever goes wrong is its failure, and no other's. */
export async function measure(run: Run, criterion: Criterion, interrupted: AbortSignal): Promise<Row> {
  interrupted.throwIfAborted();
  const { id, title, limit } = criterion;
  const outcome = await limited(run, criterion, interrupted).catch((error: unknown) => {
    if (interrupted.aborted) throw error;
    return fail(sentence(error));
  });
  return { id, title, limit, ...outcome };
}

async function limited(run: Run, { patience = 60, measure }: Criterion, interrupted: AbortSignal): Promise<Outcome> {
  const ended = new AbortController();
  const waited = sleep(patience * 1000, undefined, { signal: AbortSignal.any([ended.signal, interrupted]) }).then(() =>
    fail(`no answer in ${patience} s`),
  );
  try {
    return await Promise.race([measure(run), waited]);
  } finally {
    ended.abort();
    waited.catch(() => {});
  }
}

/** Removes all that the run has made, and what killed ones have left. A criterion like the others: `verify` leaves nothing. */
export async function clean(run: Run): Promise<Row> {
  await run.stop();
  const { removed, left } = await run.clean();
  const limit = "all that was made is gone";
  const row = { id: "clean", title: "Nothing is left behind", limit };
  if (left.length > 0)
    return { ...row, ...fail(`left: ${left.join(", ")}`, "the next verify removes it, an hour later") };
  const before = [...(await removeNamespaces(run).catch(() => [])), ...(await fromLocalStack(run))];
  const also = before.length > 0 ? `, and ${before.length} of killed runs` : "";
  return { ...row, ...pass(`${removed.length} removed${also}`) };
}

/** Where LocalStack was asked for nothing, or does not answer, there is nothing to tell of it. */
async function fromLocalStack(run: Run): Promise<string[]> {
  return run.usesLocalStack ? await removeFromLocalStack(run).catch(() => []) : [];
}
