import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { AccessSettings, TlsSettings } from "../config/settings.ts";
import { type Content, checksum } from "./checksum.ts";
import { httpsIngress, type IngressParts, redirectIngress } from "./ingress.ts";
import { labelsOf, STACK_ANNOTATION, selectorOf } from "./labels.ts";
import { DENY_ALL, type GatedPod, gateNetworkPolicy, solverNetworkPolicy } from "./network-policies.ts";
import type { GateWorld } from "./nginx.ts";
import type { PodSpec } from "./pod-parts.ts";
import type { PrivateCa } from "./private-ca.ts";

/** What a workload needs of the world around it. */
export interface WorkloadArgs {
  access: AccessSettings;
  tls: TlsSettings;
  /** Issues the certificate where `tls.mode` is private-ca. */
  ca?: PrivateCa | undefined;
  /**
   * Provider for what outlives a destroy, with `upsertExistingObjects`: to create an object that exists is an error
   * without it, and the next `up` must take the volume back. What has no data is made without: it would take over, and on
   * destroy delete, what is somebody else's.
   */
  dataProvider: k8s.Provider;
}

/** The settings that every workload has. */
export interface WorkloadSettings {
  namespace: string;
  certificateNames: string[];
  /** Undefined where there is no data: then nothing is kept, and nothing that exists is taken over. */
  keepDataOnDestroy?: boolean | undefined;
  /** Namespaces whose pods may read the metrics. Defaults to none. */
  monitoringNamespaces?: string[];
}

/** Ports of the Service, and of the node where there is no ingress. */
export interface WorkloadPorts {
  /** Port of the Service. */
  service: number;
  /** Port on every node, with access.mode node-port. */
  node: number;
  /** Port of the metrics. Defaults to none. */
  metrics?: number;
}

/** The certificate that a workload's clients are shown. */
export interface ServedCertificate {
  namespace: string;
  /** Secret that holds it. cert-manager's Certificate, made for the Ingress, has the same name. */
  secret: string;
  /** When it expires, as RFC 3339 has it; undefined where cert-manager issues it, and is to be asked. */
  expires: pulumi.Output<string> | undefined;
}

/** How much a volume holds, and where it comes from. */
export interface VolumeSettings {
  storageClass: string;
  storage: string;
}

/**
 * One pod behind a gate, in a namespace of its own, perhaps with a volume that outlives it: what the registry, its web
 * page and LocalStack have in common. Names of objects follow the workload's: they are found by name, and two workloads
 * never share a namespace.
 */
export abstract class GatedWorkload extends pulumi.ComponentResource {
  readonly namespace: pulumi.Output<string>;
  /** Undefined without TLS. */
  servedCertificate: ServedCertificate | undefined;
  protected readonly labels: Record<string, string>;
  protected readonly child: pulumi.CustomResourceOptions = { parent: this };
  private readonly world: WorkloadArgs;
  private readonly common: WorkloadSettings;
  private readonly workload: string;

  protected constructor(
    type: string,
    name: string,
    world: WorkloadArgs,
    common: WorkloadSettings & { workload: string; podSecurity: "restricted" | "privileged" },
    opts?: pulumi.ComponentResourceOptions,
  ) {
    super(type, name, {}, opts);
    this.world = world;
    this.common = common;
    this.workload = common.workload;
    this.labels = labelsOf(common.workload);
    this.namespace = this.makeNamespace(common.podSecurity).metadata.name;
  }

  /** Whether the gate terminates TLS, because no ingress does. */
  protected get gateTls(): boolean {
    return this.world.access.mode === "node-port" && this.world.tls.mode !== "none";
  }

  /** Port of the Service: what the gate's scheme has by default. */
  protected get servicePort(): number {
    return this.gateTls ? 443 : 80;
  }

  /** What every gate is told of the world around it. */
  protected get gateOptions(): GateWorld {
    const { access, tls } = this.world;
    return {
      tls: this.gateTls,
      trustedProxies: access.mode === "ingress" ? access.trustedProxies : [],
      // A browser that does not trust a private CA could never be told to go on, once it was told this.
      hsts: tls.mode === "cluster-issuer" && tls.acme,
    };
  }

  protected get metadata(): { namespace: pulumi.Output<string>; labels: Record<string, string> } {
    return { namespace: this.namespace, labels: this.labels };
  }

  /** Options of what holds the data: kept on destroy, with the namespace around it, unless told otherwise. */
  private get kept(): pulumi.CustomResourceOptions {
    const { keepDataOnDestroy } = this.common;
    if (keepDataOnDestroy === undefined) return this.child;
    return { ...this.child, provider: this.world.dataProvider, retainOnDelete: keepDataOnDestroy };
  }

  private makeNamespace(podSecurity: string): k8s.core.v1.Namespace {
    const labels = { ...this.labels, "pod-security.kubernetes.io/enforce": podSecurity };
    const annotations = { [STACK_ANNOTATION]: pulumi.getStack() };
    const metadata = { name: this.common.namespace, labels, annotations };
    return new k8s.core.v1.Namespace(this.workload, { metadata }, this.kept);
  }

  /**
   * The volume. Its size is left alone once it exists: local-path cannot grow a claim, and a changed request is an update
   * that fails. The quota is what counts, and follows the setting.
   */
  protected dataClaim(
    name: string,
    { storageClass, storage }: VolumeSettings,
    keptSize: string | undefined,
  ): k8s.core.v1.PersistentVolumeClaim {
    const volume = { storageClass, storage: keptSize ?? storage };
    return this.claim(name, volume, { ...this.kept, ignoreChanges: ["spec"] });
  }

  protected claim(
    name: string,
    { storageClass, storage }: VolumeSettings,
    options: pulumi.CustomResourceOptions,
  ): k8s.core.v1.PersistentVolumeClaim {
    return new k8s.core.v1.PersistentVolumeClaim(
      name,
      {
        // Taken back after a destroy, the claim is bound already; the provider (4.32) waits five minutes for it to be
        // pending, as a new one of a storage class that waits for its first pod would be, and fails.
        metadata: { name, ...this.metadata, annotations: { "pulumi.com/skipAwait": "true" } },
        spec: {
          accessModes: ["ReadWriteOnce"],
          storageClassName: storageClass,
          resources: { requests: { storage } },
        },
      },
      options,
    );
  }

  protected configMap(name: string, data: Record<string, pulumi.Input<string>>): Content {
    const metadata = { name, ...this.metadata };
    return { resource: new k8s.core.v1.ConfigMap(name, { metadata, data }, this.child), content: data };
  }

  protected secret(
    name: string,
    stringData: Record<string, pulumi.Output<string>>,
    type = "Opaque",
  ): Content<k8s.core.v1.Secret> {
    const metadata = { name, ...this.metadata };
    return { resource: new k8s.core.v1.Secret(name, { metadata, type, stringData }, this.child), content: stringData };
  }

  /** cert-manager makes the Secret itself; without TLS there is none. */
  protected certificateSecret(name: string): Content<k8s.core.v1.Secret> | undefined {
    const { ca, tls } = this.world;
    const issued = ca?.issue(this.workload, this.common.certificateNames, this.child);
    if (tls.mode !== "none") {
      this.servedCertificate = { namespace: this.common.namespace, secret: name, expires: issued?.expires };
    }
    if (!issued) return undefined;
    return this.secret(name, { "tls.crt": issued.certificate, "tls.key": issued.privateKey }, "kubernetes.io/tls");
  }

  protected networkPolicies(pod: Omit<GatedPod, "name">): k8s.networking.v1.NetworkPolicy[] {
    const { access, tls } = this.world;
    const { monitoringNamespaces = [] } = this.common;
    const policies = {
      "deny-all": DENY_ALL,
      [this.workload]: gateNetworkPolicy({ name: this.workload, ...pod }, access, monitoringNamespaces),
      ...(tls.mode === "cluster-issuer" && access.mode === "ingress"
        ? { "acme-solver": solverNetworkPolicy(access) }
        : {}),
    };
    return Object.entries(policies).map(
      ([name, spec]) =>
        new k8s.networking.v1.NetworkPolicy(
          `${this.workload}-${name}`,
          { metadata: { name, ...this.metadata }, spec },
          this.child,
        ),
    );
  }

  /** The pod, made anew whenever something changes that it reads at its start. */
  protected deployment(
    spec: PodSpec,
    read: Content[],
    dependsOn: pulumi.Resource[],
    patience?: { seconds: number },
  ): k8s.apps.v1.Deployment {
    const timeout = patience && `${patience.seconds}s`;
    const name = this.workload;
    return new k8s.apps.v1.Deployment(
      name,
      {
        metadata: { name, ...this.metadata },
        spec: {
          replicas: 1,
          ...(patience ? { progressDeadlineSeconds: patience.seconds } : {}),
          // Two pods cannot write one volume.
          strategy: { type: "Recreate" },
          selector: { matchLabels: selectorOf(name) },
          template: {
            // Fixed names do not roll pods; the checksum does.
            metadata: { labels: this.labels, annotations: { "homecloud/checksum": checksum(read) } },
            spec,
          },
        },
      },
      {
        ...this.child,
        dependsOn: [...dependsOn, ...read.map(({ resource }) => resource)],
        ...(timeout ? { customTimeouts: { create: timeout, update: timeout } } : {}),
      },
    );
  }

  /** Within the cluster, which is returned, and on every node where there is no ingress. The pod's ports have the workload's name, and `metrics`. */
  protected services(deployment: k8s.apps.v1.Deployment, ports: WorkloadPorts): k8s.core.v1.Service {
    const { workload } = this;
    const clients = { name: workload, port: ports.service, targetPort: workload };
    const metrics = ports.metrics ? [{ name: "metrics", port: ports.metrics, targetPort: "metrics" }] : [];
    const selector = selectorOf(workload);
    const options = { ...this.child, dependsOn: deployment };
    const service = new k8s.core.v1.Service(
      workload,
      { metadata: { name: workload, ...this.metadata }, spec: { selector, ports: [clients, ...metrics] } },
      options,
    );
    if (this.world.access.mode !== "node-port") return service;
    // A Service of its own, so that the metrics are not on every node.
    const name = `${workload}-node-port`;
    new k8s.core.v1.Service(
      name,
      {
        metadata: { name, ...this.metadata },
        spec: { type: "NodePort", selector, ports: [{ ...clients, nodePort: ports.node }] },
      },
      options,
    );
    return service;
  }

  /** HTTPS by these names to the Service, and plain HTTP to be redirected. */
  protected ingresses(hosts: string[], secretName: string, certificate: k8s.core.v1.Secret | undefined): void {
    const { access, tls } = this.world;
    if (access.mode !== "ingress") return;
    const { workload } = this;
    const target = { hosts, service: workload, port: workload, secretName };
    this.ingress(workload, httpsIngress(target, access, tls), certificate ? [certificate] : []);
    const http = redirectIngress(target, access);
    if (http) this.ingress(`${workload}-redirect`, http, []);
  }

  private ingress(name: string, { annotations, spec }: IngressParts, dependsOn: pulumi.Resource[]): void {
    const metadata = { name, ...this.metadata, annotations };
    new k8s.networking.v1.Ingress(name, { metadata, spec }, { ...this.child, dependsOn });
  }
}
