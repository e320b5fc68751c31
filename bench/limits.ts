import type { RegistrySettings, ResourceSettings } from "../config/settings.ts";

type Resources = ResourceSettings["registry"];

/** What the baselines get: what our pod's registry container has, or with the CPU limits of all its containers. */
export function baselineResources({ resources }: RegistrySettings, podLimits: boolean): Resources {
  if (!podLimits) return resources.registry;
  const millis = Object.values(resources).reduce((sum, { limits }) => sum + parseMillis(limits.cpu), 0);
  return { ...resources.registry, limits: { ...resources.registry.limits, cpu: `${millis}m` } };
}

/** Thousandths of a processor in `500m` or `1.5`. */
function parseMillis(cpu: string): number {
  return cpu.endsWith("m") ? Number.parseInt(cpu, 10) : Number(cpu) * 1000;
}
