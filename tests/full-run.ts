/** Whether this is the full run (`npm run e2e:full`). The default run leaves out what this file is asked for, and says so. */
export const FULL_RUN = process.env.HOMECLOUD_FULL_RUN === "1";

/** What the default run leaves out of a test. */
export interface LeftOut {
  count: number;
  /** In the plural: `rounds of garbage collection`. */
  what: string;
}

declare module "vitest" {
  interface TaskMeta {
    leftOut?: LeftOut;
  }
}

/** Of something that a test repeats: `count` of it in this run, and `options` for the test, which tell the summary. */
export function repeated(what: string, { full, byDefault }: { full: number; byDefault: number }) {
  if (FULL_RUN) return { count: full, options: {} };
  return { count: byDefault, options: { meta: { leftOut: { what, count: full - byDefault } } } };
}
