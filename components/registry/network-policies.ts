import type { types } from "@pulumi/kubernetes";
import type { AccessSettings } from "../../config/settings.ts";
import { selectorOf } from "../labels.ts";
import { POD_LAYOUT } from "./layout.ts";

type NetworkPolicySpec = types.input.networking.v1.NetworkPolicySpec;
type Rule = types.input.networking.v1.NetworkPolicyIngressRule;

/** Label that Kubernetes itself puts on every namespace. */
const NAMESPACE_NAME = "kubernetes.io/metadata.name";

/** Nothing in the namespace is reached, and nothing reaches out, unless another policy says so. */
export const DENY_ALL: NetworkPolicySpec = { podSelector: {}, policyTypes: ["Ingress", "Egress"] };

/** In to the registry: from the ingress controller (anywhere where a NodePort is the way in) and monitoring. Out: nowhere. */
export function registryNetworkPolicy(
  access: AccessSettings,
  monitoringNamespace: string | undefined,
): NetworkPolicySpec {
  return {
    podSelector: { matchLabels: selectorOf("registry") },
    policyTypes: ["Ingress", "Egress"],
    // No egress rules: out nowhere. An empty list would be dropped by the API server and written again on every apply.
    ingress: [clients(access), ...(monitoringNamespace ? [monitoring(monitoringNamespace)] : [])],
  };
}

function clients(access: AccessSettings): Rule {
  const ports = [{ protocol: "TCP", port: POD_LAYOUT.gatePort }];
  if (access.mode === "node-port") return { ports };
  const from = [
    {
      namespaceSelector: { matchLabels: { [NAMESPACE_NAME]: access.namespace } },
      podSelector: { matchLabels: access.podLabels },
    },
  ];
  return { from, ports };
}

function monitoring(namespace: string): Rule {
  return {
    from: [{ namespaceSelector: { matchLabels: { [NAMESPACE_NAME]: namespace } } }],
    ports: [{ protocol: "TCP", port: POD_LAYOUT.metricsPort }],
  };
}
