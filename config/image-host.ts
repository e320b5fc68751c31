import { isIP } from "node:net";
import type { Config } from "./schema.ts";

/** What image references carry: the registry's name, or a host with its port where that is not 443. */
export function imageHost({ registry, domain, access }: Config): string {
  if (access.mode === "ingress") return registry.host ?? `registry.${domain}`;
  const [host = ""] = access.hosts;
  // An IPv6 address stands in brackets before a port.
  return isIP(host) === 6 ? `[${host}]:${access.port}` : `${host}:${access.port}`;
}
