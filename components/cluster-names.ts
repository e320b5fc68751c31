import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { wildcardBase } from "./dns-records.ts";
import { labelsOf } from "./labels.ts";

/** A name that pods are to resolve. */
export interface Rewrite {
  /** `*.` at its beginning stands for all below it, at any depth, and not for the name itself. */
  host: string;
  /** The Service that it stands for, as `name.namespace`. */
  service: string;
}

export interface ClusterNamesArgs {
  rewrites: Rewrite[];
}

/**
 * Lets pods resolve names of the home network: rewrites to Services in K3s's `coredns-custom`, which CoreDNS imports (and
 * rereads by itself). Other keys in that ConfigMap, those of other stacks among them, are left alone: it is patched, not made.
 */
export class ClusterNames extends pulumi.ComponentResource {
  constructor(name: string, args: ClusterNamesArgs, opts?: pulumi.ComponentResourceOptions) {
    super("homecloud:index:ClusterNames", name, {}, opts);
    new k8s.core.v1.ConfigMapPatch(
      name,
      {
        metadata: { name: "coredns-custom", namespace: "kube-system", labels: labelsOf("cluster-names") },
        data: { [overrideKey(pulumi.getStack())]: renderRewrites(args) },
      },
      { parent: this },
    );
    this.registerOutputs({});
  }
}

/** A stack's key in `coredns-custom`: two stacks in one cluster have one each. CoreDNS imports every `*.override`. */
export const overrideKey = (stack: string): string => `homecloud-${stack}.override`;

/** CoreDNS `rewrite` lines, imported into K3s's main server block. Source: https://coredns.io/plugins/rewrite/ */
export function renderRewrites({ rewrites }: ClusterNamesArgs): string {
  return rewrites.map(renderRewrite).join("");
}

function renderRewrite({ host, service }: Rewrite): string {
  const base = wildcardBase(host);
  const target = `${service}.svc.cluster.local`;
  if (base === undefined) return `rewrite name exact ${host} ${target}\n`;
  // Matched against the whole name as asked: lower case, with its last dot. Without `answer auto` the answer bears the
  // Service's name, and glibc drops an answer to what it did not ask; `exact` has it built in.
  const below = `^.+\\.${base.toLowerCase().replaceAll(".", "\\.")}\\.$`;
  return `rewrite name regex ${below} ${target} answer auto\n`;
}
