import type { Config } from "./schema.ts";
import { WORKLOAD_NAMES, type WorkloadKey } from "./workload-host.ts";

/** A workload beside the registry needs a domain for its name, or a name. */
export function missingHost(key: WorkloadKey, config: Config): string[] {
  const { access, registry, domain } = config;
  if (access.mode !== "ingress" || !registry.host || domain || config[key].host) return [];
  return [
    `${key}.host: is missing; allowed: a host name, or a domain (${WORKLOAD_NAMES[key]}.DOMAIN lies below it), or ${key}.enabled: false`,
  ];
}

/** Variables of a container that the program sets by itself, and what says the same instead. */
export function ownVariables(
  key: WorkloadKey,
  { [key]: { environment } }: Config,
  instead: Record<string, string>,
): string[] {
  return Object.keys(environment)
    .filter((name) => Object.hasOwn(instead, name))
    .map((name) => `${key}.environment.${name}: the program sets it; allowed instead: ${instead[name]}`);
}
