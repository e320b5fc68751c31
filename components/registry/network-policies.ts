import type { types } from "@pulumi/kubernetes";
import type { AccessSettings, IngressAccess } from "../../config/settings.ts";
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

/**
 * In to cert-manager's HTTP-01 solvers, which run in the namespace of the Ingress and would be cut off with the rest.
 * Label and port: https://cert-manager.io/docs/configuration/acme/http01/
 */
export function solverNetworkPolicy(access: IngressAccess): NetworkPolicySpec {
  return {
    podSelector: { matchLabels: { "acme.cert-manager.io/http01-solver": "true" } },
    policyTypes: ["Ingress"],
    ingress: [{ from: [ingressController(access)], ports: [{ protocol: "TCP", port: 8089 }] }],
  };
}

function clients(access: AccessSettings): Rule {
  const ports = [{ protocol: "TCP", port: POD_LAYOUT.gatePort }];
  return access.mode === "node-port" ? { ports } : { from: [ingressController(access)], ports };
}

function ingressController(access: IngressAccess): types.input.networking.v1.NetworkPolicyPeer {
  return {
    namespaceSelector: { matchLabels: { [NAMESPACE_NAME]: access.namespace } },
    podSelector: { matchLabels: access.podLabels },
  };
}

function monitoring(namespace: string): Rule {
  return {
    from: [{ namespaceSelector: { matchLabels: { [NAMESPACE_NAME]: namespace } } }],
    ports: [{ protocol: "TCP", port: POD_LAYOUT.metricsPort }],
  };
}
