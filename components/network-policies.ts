import type { types } from "@pulumi/kubernetes";
import type { AccessSettings, IngressAccess } from "../config/settings.ts";
import { selectorOf } from "./labels.ts";

type NetworkPolicySpec = types.input.networking.v1.NetworkPolicySpec;
type Rule = types.input.networking.v1.NetworkPolicyIngressRule;
type EgressRule = types.input.networking.v1.NetworkPolicyEgressRule;
type Peer = types.input.networking.v1.NetworkPolicyPeer;

/** Label that Kubernetes itself puts on every namespace. */
const NAMESPACE_NAME = "kubernetes.io/metadata.name";

/** Nothing in the namespace is reached, and nothing reaches out, unless another policy says so. */
export const DENY_ALL: NetworkPolicySpec = { podSelector: {}, policyTypes: ["Ingress", "Egress"] };

/** A pod behind a gate, and whom it talks to. */
export interface GatedPod {
  /** As its label says. */
  name: string;
  gatePort: number;
  /** Port that monitoring reads. Defaults to none. */
  metricsPort?: number;
  /** Whom it may reach: everybody, nobody, or these. */
  reachesOut: boolean | EgressRule[];
  /** Pods of ours that use it past the ingress. Defaults to none. */
  usedBy?: { namespace: string; name: string }[];
}

/** Out to the cluster's DNS, wherever that runs. */
export const RESOLVE_NAMES: EgressRule = {
  ports: [
    { protocol: "UDP", port: 53 },
    { protocol: "TCP", port: 53 },
  ],
};

/** Out to one port of a workload of ours. */
export const toPods = (namespace: string, name: string, port: number): EgressRule => ({
  to: [podsOf(namespace, name)],
  ports: [{ protocol: "TCP", port }],
});

/** In to the gate: from the ingress controller (anywhere where a NodePort is the way in) and monitoring. */
export function gateNetworkPolicy(
  pod: GatedPod,
  access: AccessSettings,
  monitoringNamespaces: string[],
): NetworkPolicySpec {
  return {
    podSelector: { matchLabels: selectorOf(pod.name) },
    policyTypes: ["Ingress", "Egress"],
    // No egress rules: out nowhere. An empty list would be dropped by the API server and written again on every apply.
    ...(pod.reachesOut ? { egress: pod.reachesOut === true ? [{}] : pod.reachesOut } : {}),
    ingress: [clients(pod, access), ...monitoring(pod, monitoringNamespaces)],
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

function clients({ gatePort, usedBy = [] }: GatedPod, access: AccessSettings): Rule {
  const ports = [{ protocol: "TCP", port: gatePort }];
  if (access.mode === "node-port") return { ports };
  return { from: [ingressController(access), ...usedBy.map(({ namespace, name }) => podsOf(namespace, name))], ports };
}

const podsOf = (namespace: string, name: string): Peer => ({
  namespaceSelector: { matchLabels: { [NAMESPACE_NAME]: namespace } },
  podSelector: { matchLabels: selectorOf(name) },
});

function ingressController(access: IngressAccess): Peer {
  return {
    namespaceSelector: { matchLabels: { [NAMESPACE_NAME]: access.namespace } },
    podSelector: { matchLabels: access.podLabels },
  };
}

function monitoring({ metricsPort }: GatedPod, namespaces: string[]): Rule[] {
  if (!metricsPort || namespaces.length === 0) return [];
  const from = namespaces.map((namespace) => ({
    namespaceSelector: { matchLabels: { [NAMESPACE_NAME]: namespace } },
  }));
  return [{ from, ports: [{ protocol: "TCP", port: metricsPort }] }];
}
