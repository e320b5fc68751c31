import type { Config } from "./schema.ts";

/** Name or address that a workload beside the registry has, without its port: its own, else one of its name's below the domain. */
export function workloadHost(name: "localstack" | "registry-ui", own: string | undefined, { domain, access }: Config) {
  if (own) return own;
  return access.mode === "ingress" ? `${name}.${domain}` : (access.hosts[0] ?? "localhost");
}
