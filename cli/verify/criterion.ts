import { library } from "../cluster/kube.ts";
import type { Run } from "./run.ts";

/** What came of measuring. */
export interface Outcome {
  /** Undefined where there is nothing to measure here, or nobody asked for it: that is no failure. */
  passed: boolean | undefined;
  /** What was seen, in a few words. */
  measured: string;
  /** What to do about a failure. */
  hint?: string;
}

/** One of the promises that a deployment has to keep. */
export interface Criterion {
  id: string;
  title: string;
  /** What has to hold. */
  limit: string;
  /** Seconds after which it counts as failed, whatever it waits for. Defaults to 60. */
  patience?: number;
  /** What it throws is a failure too: the error's message is what was measured. */
  measure(run: Run): Promise<Outcome>;
}

export const pass = (measured: string): Outcome => ({ passed: true, measured });

export const fail = (measured: string, hint?: string): Outcome => ({
  passed: false,
  measured,
  ...(hint ? { hint } : {}),
});

export const notMeasured = (why: string): Outcome => ({ passed: undefined, measured: `not measured: ${why}` });

/** What another criterion has shown to be broken already: nothing can be said of this one. */
export class Broken extends Error {}

/** Whatever `made` makes; where that fails, the criterion that needs it cannot be measured. */
export async function needed<T>(what: string, made: Promise<T>): Promise<T> {
  try {
    return await made;
  } catch (error) {
    throw new Broken(`cannot be measured: ${what} failed: ${sentence(error)}`);
  }
}

/** Names of errors that say nothing beside the message. */
const PLAIN = ["Error", "TypeError", "UserError", "RegistryError"];

/** An error in one line, for a table. */
export function sentence(error: unknown): string {
  if (error instanceof library().ApiException) return `the API server answered ${error.code}: ${saidBy(error.body)}`;
  const { name, message, code, cause } = error as Error & { code?: string };
  // Of a connection that failed, Node's own errors have the reason within.
  const reason = message || code || (cause as Error | undefined)?.message || name;
  const text = reason.replaceAll(/\s+/g, " ").trim();
  return PLAIN.includes(name) ? text : `${name}: ${text}`;
}

/** What the API server says of a refusal. */
function saidBy(body: unknown): string {
  const status = (typeof body === "string" ? JSON.parse(body) : body) as { message?: string };
  return status.message ?? "no reason";
}

export const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;
