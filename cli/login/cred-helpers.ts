import type { JsonObject } from "./json-file.ts";

/** Clients run `docker-credential-homecloud` by this name. */
export const HELPER = "homecloud";

/** Names the helper for a host. Returns the one that stood there. */
export function setHelper(config: JsonObject, host: string): string | undefined {
  const helpers = (config.credHelpers ?? {}) as Record<string, string>;
  const before = helpers[host];
  config.credHelpers = { ...helpers, [host]: HELPER };
  return before;
}

/** Takes it out again, or puts back what stood there. What somebody has changed since stays. */
export function unsetHelper(config: JsonObject, host: string, before: string | undefined): void {
  const helpers = config.credHelpers as Record<string, string> | undefined;
  if (helpers?.[host] !== HELPER) return;
  if (before === undefined) delete helpers[host];
  else helpers[host] = before;
  if (Object.keys(helpers).length === 0) delete config.credHelpers;
}

/** Whether a login of before stands in the file, which the helper has made needless. */
export function hasPassword(config: JsonObject, host: string): boolean {
  const auths = config.auths as Record<string, { auth?: string; password?: string }> | undefined;
  return Boolean(auths?.[host]?.auth ?? auths?.[host]?.password);
}
