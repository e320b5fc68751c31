import { inUrl } from "./in-url.ts";
import type { Config } from "./schema.ts";

/** What image references carry: the registry's name, or a host with its port where that is not 443. */
export function imageHost({ registry, domain, access }: Config): string {
  if (access.mode === "ingress") return registry.host ?? `registry.${domain}`;
  const [host = ""] = access.hosts;
  return `${inUrl(host)}:${access.port}`;
}
