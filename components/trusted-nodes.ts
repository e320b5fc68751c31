import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { checksumOfCa } from "./ca-checksum.ts";
import { NODES_CA, NODES_USER, TRUSTED_NODES } from "./known-names.ts";
import { labelsOf } from "./labels.ts";
import type { ProvenNode } from "./node-trust.ts";

export interface TrustedNodesArgs {
  namespace: pulumi.Input<string>;
  nodes: pulumi.Output<ProvenNode[]>;
  /** Name of the user that they were given. */
  user: string;
  /** PEM of the stack's own CA. Defaults to none. */
  ca?: pulumi.Output<string> | undefined;
}

/**
 * Tells the command line which nodes pull by themselves: it has a kubeconfig, and no stack to ask. Nothing here is secret.
 * It comes after the nodes that it tells of: a server counts as proven only once its API is ready again.
 */
export function trustedNodes(args: TrustedNodesArgs, opts: pulumi.CustomResourceOptions): void {
  const { namespace, nodes, user, ca } = args;
  const annotations = { [NODES_USER]: user, ...(ca ? { [NODES_CA]: pulumi.unsecret(ca.apply(checksumOfCa)) } : {}) };
  const metadata = { name: TRUSTED_NODES, namespace, labels: labelsOf("node-trust"), annotations };
  const data = nodes.apply((all) => Object.fromEntries(all.map(({ name, provenAt = "never" }) => [name, provenAt])));
  new k8s.core.v1.ConfigMap(TRUSTED_NODES, { metadata, data }, opts);
}
