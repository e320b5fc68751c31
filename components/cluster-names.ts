import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { labelsOf } from "./labels.ts";

export interface ClusterNamesArgs {
  /** Host names that pods are to resolve. */
  hosts: string[];
  /** The ingress controller's Service, as `name.namespace`. */
  service: string;
}

/**
 * Lets pods resolve the ingress's names: a rewrite to the ingress controller's Service in K3s's `coredns-custom`, which
 * CoreDNS imports (and rereads by itself). Other people's keys in that ConfigMap are left alone: it is patched, not made.
 */
export class ClusterNames extends pulumi.ComponentResource {
  constructor(name: string, args: ClusterNamesArgs, opts?: pulumi.ComponentResourceOptions) {
    super("homecloud:index:ClusterNames", name, {}, opts);
    new k8s.core.v1.ConfigMapPatch(
      name,
      {
        metadata: { name: "coredns-custom", namespace: "kube-system", labels: labelsOf("cluster-names") },
        data: { "homecloud.override": renderRewrites(args) },
      },
      { parent: this },
    );
    this.registerOutputs({});
  }
}

/** CoreDNS `rewrite` lines, imported into K3s's main server block. Source: https://coredns.io/plugins/rewrite/ */
export function renderRewrites({ hosts, service }: ClusterNamesArgs): string {
  return hosts.map((host) => `rewrite name exact ${host} ${service}.svc.cluster.local\n`).join("");
}
