import type { types } from "@pulumi/kubernetes";
import type { AccessSettings, IngressAccess } from "../config/settings.ts";
import { selectorOf } from "./labels.ts";

type NetworkPolicySpec = types.input.networking.v1.NetworkPolicySpec;
type Rule = types.input.networking.v1.NetworkPolicyIngressRule;

/** Label that Kubernetes itself puts on every namespace. */
const NAMESPACE_NAME = "kubernetes.io/metadata.name";

/** Nothing in the namespace is reached, and nothing reaches out, unless another policy says so. */
export const DENY_ALL: NetworkPolicySpec = { podSelector: {}, policyTypes: ["Ingress", "Egress"] };

/** A pod behind a gate, and whom it talks to. */
export interface GatedPod {
  /** As its label says. */
  name: string;
  gatePort: number;
  metricsPort: number;
  /** Whether it may reach out, and anywhere. */
  reachesOut: boolean;
}

/** In to the gate: from the ingress controller (anywhere where a NodePort is the way in) and monitoring. */
export function gateNetworkPolicy(
  pod: GatedPod,
  access: AccessSettings,
  monitoringNamespace: string | undefined,
): NetworkPolicySpec {
  return {
    podSelector: { matchLabels: selectorOf(pod.name) },
    policyTypes: ["Ingress", "Egress"],
    // No egress rules: out nowhere. An empty list would be dropped by the API server and written again on every apply.
    ...(pod.reachesOut ? { egress: [{}] } : {}),
    ingress: [
      clients(pod.gatePort, access),
      ...(monitoringNamespace ? [monitoring(pod.metricsPort, monitoringNamespace)] : []),
    ],
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

function clients(port: number, access: AccessSettings): Rule {
  const ports = [{ protocol: "TCP", port }];
  return access.mode === "node-port" ? { ports } : { from: [ingressController(access)], ports };
}

function ingressController(access: IngressAccess): types.input.networking.v1.NetworkPolicyPeer {
  return {
    namespaceSelector: { matchLabels: { [NAMESPACE_NAME]: access.namespace } },
    podSelector: { matchLabels: access.podLabels },
  };
}

function monitoring(port: number, namespace: string): Rule {
  return {
    from: [{ namespaceSelector: { matchLabels: { [NAMESPACE_NAME]: namespace } } }],
    ports: [{ protocol: "TCP", port }],
  };
}
