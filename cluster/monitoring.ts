import { ApiException, CustomObjectsApi, type KubeConfig, type V1Namespace } from "@kubernetes/client-node";
import { OPERATOR } from "../components/monitoring.ts";
import type { MonitoringSettings, Settings } from "../config/settings.ts";

/** What keeps Prometheus and Grafana from being told anything, one line each. */
export async function monitoringProblems(
  config: KubeConfig,
  namespaces: V1Namespace[],
  { monitoring }: Settings,
): Promise<string[]> {
  if (!monitoring) return [];
  return [...(await operator(config)), ...ownNamespace(namespaces, monitoring)];
}

/** Asked of discovery, which everybody may read: definitions themselves only whoever administers the cluster. */
async function operator(config: KubeConfig): Promise<string[]> {
  const { group, version, resources } = OPERATOR;
  const served = await config
    .makeApiClient(CustomObjectsApi)
    .getAPIResources({ group, version })
    .catch((error: unknown) => {
      if (error instanceof ApiException && error.code === 404) return { resources: [] };
      throw error;
    });
  const names = served.resources.map(({ name }) => name);
  const missing = resources.filter((name) => !names.includes(name)).map((name) => `${name}.${group}`);
  if (missing.length === 0) return [];
  return [
    `monitoring.enabled: the cluster has no ${missing.join(" and no ")}, which the Prometheus operator brings; ` +
      "install it first (Helm chart kube-prometheus-stack), or set monitoring.enabled to false and read the metrics " +
      "as docs/monitoring.md says",
  ];
}

function ownNamespace(namespaces: V1Namespace[], { namespace }: MonitoringSettings): string[] {
  if (namespaces.some(({ metadata }) => metadata?.name === namespace)) return [];
  return [`monitoring.namespace: "${namespace}" is not in the cluster; allowed: the namespace that Prometheus runs in`];
}
