import type { Config } from "./schema.ts";

/** The workloads beside the registry, by the key of their settings, and what their names below the domain begin with. */
export const WORKLOAD_NAMES = { localstack: "localstack", registryUi: "registry-ui" } as const;

export type WorkloadKey = keyof typeof WORKLOAD_NAMES;

/** Name or address of a workload beside the registry, without its port. */
export function workloadHost(key: WorkloadKey, { [key]: { host }, domain, access }: Config): string {
  if (host) return host;
  return access.mode === "ingress" ? `${WORKLOAD_NAMES[key]}.${domain}` : (access.hosts[0] ?? "localhost");
}
