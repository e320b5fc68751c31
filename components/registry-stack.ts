import { createHash } from "node:crypto";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { AccessSettings, RegistrySettings, TlsSettings } from "../config/settings.ts";
import { labelsOf, STACK_ANNOTATION, selectorOf } from "./labels.ts";
import type { IssuedCertificate, PrivateCa } from "./private-ca.ts";
import { renderDistribution } from "./registry/distribution.ts";
import { dockerConfigJson } from "./registry/docker-config.ts";
import { renderPublicFiles } from "./registry/files.ts";
import type { GateOptions } from "./registry/gate.ts";
import { localRegistryHosting } from "./registry/hosting.ts";
import { type RegistryUser, renderHtpasswd } from "./registry/htpasswd.ts";
import { type IngressParts, LONG_UPLOADS_VALUES, redirectIngress, registryIngress } from "./registry/ingress.ts";
import { POD_LAYOUT } from "./registry/layout.ts";
import { DENY_ALL, registryNetworkPolicy, solverNetworkPolicy } from "./registry/network-policies.ts";
import { OBJECTS, registryPod } from "./registry/pod.ts";

export interface RegistryStackArgs {
  registry: RegistrySettings;
  access: AccessSettings;
  tls: TlsSettings;
  /** Issues the certificate where `tls.mode` is private-ca. */
  ca?: PrivateCa | undefined;
  /**
   * Provider for what outlives a destroy, with `upsertExistingObjects`: to create an object that exists is an error
   * without it, and the next `up` must take the volume back.
   */
  dataProvider: k8s.Provider;
  /** Size of the volume where one was kept from an earlier deployment. Defaults to the setting. */
  claimSize?: string | undefined;
}

/** A user's name and password. */
export interface Login {
  name: string;
  /** Secret. */
  password: pulumi.Output<string>;
}

/** A private container registry: login, two roles, quota, TLS, and a volume that outlives it. */
export class RegistryStack extends pulumi.ComponentResource {
  /** Where clients reach it, for example `https://registry.homelab.local`. */
  readonly url: string;
  /** What image references begin with, for example `registry.homelab.local`. */
  readonly host: string;
  readonly namespace: pulumi.Output<string>;
  /** User who pushes and pulls. */
  readonly writer: Login;
  /** User who only pulls: for nodes and pull secrets. */
  readonly puller: Login;
  /** Docker's config.json for the user who pushes. Secret. */
  readonly dockerConfigJson: pulumi.Output<string>;

  private readonly args: RegistryStackArgs;
  private readonly labels = labelsOf("registry");
  private readonly child: pulumi.CustomResourceOptions = { parent: this };

  constructor(name: string, args: RegistryStackArgs, opts?: pulumi.ComponentResourceOptions) {
    super("homecloud:index:RegistryStack", name, {}, opts);
    this.args = args;
    this.host = args.registry.host;
    this.url = `${args.tls.mode === "none" ? "http" : "https"}://${this.host}`;

    const namespace = this.makeNamespace();
    this.namespace = namespace.metadata.name;
    this.writer = { name: args.registry.user, password: this.password("writer", args.registry.password) };
    const pullers = args.registry.pullUsers.map((user) => ({ name: user, password: this.password(user) }));
    this.puller = pullers[0] as Login;
    this.dockerConfigJson = this.dockerConfig(this.writer);

    const claim = this.makeClaim();
    const policies = this.networkPolicies();
    const files = this.filesMap();
    const config = this.secret(OBJECTS.config, { "config.yml": this.distributionConfig() });
    const users = this.secret(OBJECTS.users, { htpasswd: this.htpasswd([this.writer, ...pullers]) });
    const certificate = this.certificateSecret();
    const read = [files, config, users, ...(this.gateTls && certificate ? [certificate] : [])];
    const deployment = this.deployment(read, [claim, ...policies]);
    this.service(deployment);
    this.ingresses(certificate?.resource);
    this.pullAccess();
    if (args.registry.localRegistryHosting) this.announcement();

    this.registerOutputs({ url: this.url, host: this.host, namespace: this.namespace });
  }

  /** Whether the gate terminates TLS, because no ingress does. */
  private get gateTls(): boolean {
    return this.args.access.mode === "node-port" && this.args.tls.mode !== "none";
  }

  private get metadata(): { namespace: pulumi.Output<string>; labels: Record<string, string> } {
    return { namespace: this.namespace, labels: this.labels };
  }

  /** Options of what holds the images: kept on destroy, with the namespace around it, unless told otherwise. */
  private get kept(): pulumi.CustomResourceOptions {
    return { ...this.child, provider: this.args.dataProvider, retainOnDelete: this.args.registry.keepDataOnDestroy };
  }

  private makeNamespace(): k8s.core.v1.Namespace {
    const labels = { ...this.labels, "pod-security.kubernetes.io/enforce": "restricted" };
    const annotations = { [STACK_ANNOTATION]: pulumi.getStack() };
    const metadata = { name: this.args.registry.namespace, labels, annotations };
    return new k8s.core.v1.Namespace("registry", { metadata }, this.kept);
  }

  /**
   * The volume. Its size is left alone once it exists: local-path cannot grow a claim, and a changed request is an update
   * that fails. The quota is what counts, and follows the setting.
   */
  private makeClaim(): k8s.core.v1.PersistentVolumeClaim {
    const { storageClass } = this.args.registry;
    const storage = this.args.claimSize ?? this.args.registry.storage;
    return new k8s.core.v1.PersistentVolumeClaim(
      OBJECTS.claim,
      {
        // Taken back after a destroy, the claim is bound already; the provider (4.32) waits five minutes for it to be
        // pending, as a new one of a storage class that waits for its first pod would be, and fails.
        metadata: { name: OBJECTS.claim, ...this.metadata, annotations: { "pulumi.com/skipAwait": "true" } },
        spec: { accessModes: ["ReadWriteOnce"], storageClassName: storageClass, resources: { requests: { storage } } },
      },
      { ...this.kept, ignoreChanges: ["spec"] },
    );
  }

  /** The password that was set, or one that is generated once. */
  private password(user: string, given?: string): pulumi.Output<string> {
    if (given !== undefined) return pulumi.secret(given);
    return new random.RandomPassword(`registry-password-${user}`, { length: 32, special: false }, this.child).result;
  }

  private htpasswd(logins: Login[]): pulumi.Output<string> {
    const users = logins.map(({ name, password }): pulumi.Output<RegistryUser> => {
      const salt = new random.RandomBytes(`registry-salt-${name}`, { length: 16 }, this.child).base64;
      return pulumi.all([password, salt]).apply(([password, salt]) => ({ name, password, salt }));
    });
    return pulumi.secret(pulumi.all(users).apply(renderHtpasswd));
  }

  private distributionConfig(): pulumi.Output<string> {
    const secret = new random.RandomPassword("registry-http-secret", { length: 32, special: false }, this.child).result;
    return secret.apply((httpSecret) => renderDistribution(POD_LAYOUT, { httpSecret }));
  }

  private filesMap(): Content {
    const { access, tls, registry } = this.args;
    const options: GateOptions = {
      writer: registry.user,
      tls: this.gateTls,
      trustedProxies: access.mode === "ingress" ? access.trustedProxies : [],
      // A browser that does not trust a private CA could never be told to go on, once it was told this.
      hsts: tls.mode === "cluster-issuer" && tls.acme,
    };
    const data = renderPublicFiles(POD_LAYOUT, options);
    const metadata = { name: OBJECTS.files, ...this.metadata };
    return { resource: new k8s.core.v1.ConfigMap(OBJECTS.files, { metadata, data }, this.child), content: data };
  }

  private secret(
    name: string,
    stringData: Record<string, pulumi.Output<string>>,
    type = "Opaque",
  ): Content<k8s.core.v1.Secret> {
    const metadata = { name, ...this.metadata };
    return { resource: new k8s.core.v1.Secret(name, { metadata, type, stringData }, this.child), content: stringData };
  }

  /** cert-manager makes the Secret itself; without TLS there is none. */
  private certificateSecret(): Content<k8s.core.v1.Secret> | undefined {
    const { ca, registry } = this.args;
    if (!ca) return undefined;
    const issued: IssuedCertificate = ca.issue("registry", registry.certificateNames, this.child);
    return this.secret(
      OBJECTS.certificate,
      { "tls.crt": issued.certificate, "tls.key": issued.privateKey },
      "kubernetes.io/tls",
    );
  }

  private networkPolicies(): k8s.networking.v1.NetworkPolicy[] {
    const { access, registry, tls } = this.args;
    const policies = {
      "deny-all": DENY_ALL,
      registry: registryNetworkPolicy(access, registry.monitoringNamespace),
      ...(tls.mode === "cluster-issuer" && access.mode === "ingress"
        ? { "acme-solver": solverNetworkPolicy(access) }
        : {}),
    };
    return Object.entries(policies).map(
      ([name, spec]) =>
        new k8s.networking.v1.NetworkPolicy(
          `registry-${name}`,
          { metadata: { name, ...this.metadata }, spec },
          this.child,
        ),
    );
  }

  private deployment(read: Content[], dependsOn: pulumi.Resource[]): k8s.apps.v1.Deployment {
    const name = OBJECTS.deployment;
    return new k8s.apps.v1.Deployment(
      name,
      {
        metadata: { name, ...this.metadata },
        spec: {
          replicas: 1,
          // Two pods cannot write one filesystem store.
          strategy: { type: "Recreate" },
          selector: { matchLabels: selectorOf("registry") },
          template: {
            // Fixed names do not roll pods; the checksum does.
            metadata: { labels: this.labels, annotations: { "homecloud/checksum": checksum(read) } },
            spec: registryPod({ settings: this.args.registry, tls: this.gateTls }),
          },
        },
      },
      { ...this.child, dependsOn: [...dependsOn, ...read.map(({ resource }) => resource)] },
    );
  }

  private service(deployment: k8s.apps.v1.Deployment): void {
    const { access } = this.args;
    const registry = { name: "registry", port: this.gateTls ? 443 : 80, targetPort: "registry" };
    const metrics = { name: "metrics", port: POD_LAYOUT.metricsPort, targetPort: "metrics" };
    const selector = selectorOf("registry");
    const options = { ...this.child, dependsOn: deployment };
    new k8s.core.v1.Service(
      OBJECTS.deployment,
      { metadata: { name: OBJECTS.deployment, ...this.metadata }, spec: { selector, ports: [registry, metrics] } },
      options,
    );
    if (access.mode !== "node-port") return;
    // A Service of its own, so that the metrics are not on every node.
    const name = `${OBJECTS.deployment}-node-port`;
    const ports = [{ ...registry, nodePort: access.port }];
    new k8s.core.v1.Service(
      name,
      { metadata: { name, ...this.metadata }, spec: { type: "NodePort", selector, ports } },
      options,
    );
  }

  private ingresses(certificate: k8s.core.v1.Secret | undefined): void {
    const { access, tls } = this.args;
    if (access.mode !== "ingress") return;
    const https = registryIngress(this.host, access, tls);
    this.ingress("registry", https, certificate ? [certificate] : []);
    const http = redirectIngress(this.host, access);
    if (http) this.ingress("registry-redirect", http, []);
    if (access.longUploads) this.longUploads();
  }

  private ingress(name: string, { annotations, spec }: IngressParts, dependsOn: pulumi.Resource[]): void {
    const metadata = { name, ...this.metadata, annotations };
    new k8s.networking.v1.Ingress(name, { metadata, spec }, { ...this.child, dependsOn });
  }

  /** There can be only one HelmChartConfig of this name in a cluster, and it concerns every tenant: only where asked for. */
  private longUploads(): void {
    new k8s.apiextensions.CustomResource(
      "traefik-long-uploads",
      {
        apiVersion: "helm.cattle.io/v1",
        kind: "HelmChartConfig",
        metadata: { name: "traefik", namespace: "kube-system", labels: this.labels },
        spec: { valuesContent: LONG_UPLOADS_VALUES },
      },
      this.child,
    );
  }

  /** The pull secret, and the CA for pods, in the namespaces that ask for them. */
  private pullAccess(): void {
    for (const namespace of this.args.registry.pullSecretNamespaces) {
      new k8s.core.v1.Secret(
        `registry-pull-${namespace}`,
        {
          metadata: { name: "registry-pull", namespace, labels: this.labels },
          type: "kubernetes.io/dockerconfigjson",
          stringData: { ".dockerconfigjson": this.dockerConfig(this.puller) },
        },
        this.child,
      );
      if (!this.args.ca) continue;
      new k8s.core.v1.ConfigMap(
        `homecloud-ca-${namespace}`,
        {
          metadata: { name: "homecloud-ca", namespace, labels: this.labels },
          data: { "ca.crt": this.args.ca.certificate },
        },
        this.child,
      );
    }
  }

  private announcement(): void {
    const name = "local-registry-hosting";
    const metadata = { name, namespace: "kube-public", labels: this.labels };
    new k8s.core.v1.ConfigMap(name, { metadata, data: localRegistryHosting(this.host) }, this.child);
  }

  private dockerConfig({ name, password }: Login): pulumi.Output<string> {
    return pulumi.secret(password.apply((text) => dockerConfigJson(this.host, name, text)));
  }
}

/** An object that the pod reads at its start, and what is in it. */
interface Content<Resource extends pulumi.Resource = pulumi.Resource> {
  resource: Resource;
  content: Record<string, pulumi.Input<string>>;
}

/**
 * A digest of everything that the pod reads. Of what was asked for, not of the objects' outputs, which a preview does not
 * know. It gives nothing away, so it need not be secret.
 */
function checksum(read: Content[]): pulumi.Output<string> {
  const contents = pulumi.all(read.map(({ content }) => pulumi.output(content)));
  return pulumi.unsecret(contents.apply((all) => createHash("sha256").update(JSON.stringify(all)).digest("hex")));
}
