import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { RegistrySettings } from "../config/settings.ts";
import { GatedWorkload, type WorkloadArgs } from "./gated-workload.ts";
import { LONG_UPLOADS_VALUES } from "./ingress.ts";
import { CA_CONFIG_MAP, clientObject, PULL_SECRET } from "./known-names.ts";
import { STACK_ANNOTATION } from "./labels.ts";
import { renderDistribution } from "./registry/distribution.ts";
import { dockerConfigJson } from "./registry/docker-config.ts";
import { renderPublicFiles } from "./registry/files.ts";
import { localRegistryHosting } from "./registry/hosting.ts";
import { type RegistryUser, renderHtpasswd } from "./registry/htpasswd.ts";
import { POD_LAYOUT } from "./registry/layout.ts";
import { OBJECTS, registryPod } from "./registry/pod.ts";

export interface RegistryStackArgs extends WorkloadArgs {
  registry: RegistrySettings;
  /** Size of the volume where one was kept from an earlier deployment. Defaults to the setting. */
  claimSize?: string | undefined;
  /** Further namespaces that get the CA. One owner for all: a ConfigMap that changes hands would be deleted. */
  caNamespaces?: string[];
  /** Pods that reach the gate past the ingress: the web page's. Defaults to none. */
  usedBy?: { namespace: string; name: string }[];
}

/** A user's name and password. */
export interface Login {
  name: string;
  /** Secret. */
  password: pulumi.Output<string>;
}

/** A private container registry: login, two roles, quota, TLS, and a volume that outlives it. */
export class RegistryStack extends GatedWorkload {
  /** Where clients reach it, for example `https://registry.homelab.local`. */
  readonly url: string;
  /** What image references begin with, for example `registry.homelab.local`. */
  readonly host: string;
  /** User who pushes and pulls. */
  readonly writer: Login;
  /** User who only pulls: for nodes and pull secrets. */
  readonly puller: Login;
  /** Docker's config.json for the user who pushes. Secret. */
  readonly dockerConfigJson: pulumi.Output<string>;
  /** By which pods of the cluster reach it: there once the registry is ready. */
  readonly service: k8s.core.v1.Service;

  private readonly args: RegistryStackArgs;

  constructor(name: string, args: RegistryStackArgs, opts?: pulumi.ComponentResourceOptions) {
    const common = { ...args.registry, workload: "registry", podSecurity: "restricted" as const };
    super("homecloud:index:RegistryStack", name, args, common, opts);
    this.args = args;
    this.host = args.registry.host;
    this.url = `${args.tls.mode === "none" ? "http" : "https"}://${this.host}`;

    this.writer = { name: args.registry.user, password: this.password("writer", args.registry.password) };
    const pullers = args.registry.pullUsers.map((user) => ({ name: user, password: this.password(user) }));
    this.puller = pullers[0] as Login;
    this.dockerConfigJson = this.dockerConfig(this.writer);

    const claim = this.dataClaim(OBJECTS.claim, args.registry, args.claimSize);
    const policies = this.networkPolicies({ ...POD_LAYOUT, reachesOut: false, usedBy: args.usedBy ?? [] });
    const files = this.configMap(OBJECTS.files, this.files());
    const config = this.secret(OBJECTS.config, { "config.yml": this.distributionConfig() });
    const users = this.secret(OBJECTS.users, { htpasswd: this.htpasswd([this.writer, ...pullers]) });
    this.client();
    const certificate = this.certificateSecret(OBJECTS.certificate);
    const read = [files, config, users, ...(this.gateTls && certificate ? [certificate] : [])];
    const pod = registryPod({ settings: args.registry, tls: this.gateTls });
    const deployment = this.deployment(pod, read, [claim, ...policies]);
    const { access } = args;
    const node = access.mode === "node-port" ? access.port : 0;
    this.service = this.services(deployment, { service: this.servicePort, node, metrics: POD_LAYOUT.metricsPort });
    this.ingresses([this.host], OBJECTS.certificate, certificate?.resource);
    if (access.mode === "ingress" && access.longUploads) this.longUploads();
    this.pullAccess();
    if (args.registry.localRegistryHosting) this.announcement();

    this.registerOutputs({ url: this.url, host: this.host, namespace: this.namespace });
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

  private files(): Record<string, string> {
    return renderPublicFiles(POD_LAYOUT, { ...this.gateOptions, writer: this.args.registry.user });
  }

  /** What the command line needs: whoever may read Secrets here may push. */
  private client(): void {
    const { ca } = this.args;
    this.secret(clientObject("registry"), {
      url: pulumi.output(this.url),
      host: pulumi.output(this.host),
      username: pulumi.output(this.writer.name),
      password: this.writer.password,
      // Who comes by a forwarded port meets the gate without the ingress.
      gateTls: pulumi.output(String(this.gateTls)),
      ...(ca ? { "ca.crt": ca.certificate } : {}),
    });
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

  /** What is in namespaces of others says whose it is: several stacks may be in one cluster. */
  private get ours() {
    return { labels: this.labels, annotations: { [STACK_ANNOTATION]: pulumi.getStack() } };
  }

  /** The pull secret, and the CA for pods, in the namespaces that ask for them. */
  private pullAccess(): void {
    for (const namespace of this.args.registry.pullSecretNamespaces) {
      new k8s.core.v1.Secret(
        `registry-pull-${namespace}`,
        {
          metadata: { name: PULL_SECRET, namespace, ...this.ours },
          type: "kubernetes.io/dockerconfigjson",
          stringData: { ".dockerconfigjson": this.dockerConfig(this.puller) },
        },
        this.child,
      );
    }
    const { ca, caNamespaces = [], registry } = this.args;
    if (!ca) return;
    for (const namespace of new Set([...registry.pullSecretNamespaces, ...caNamespaces])) {
      new k8s.core.v1.ConfigMap(
        `homecloud-ca-${namespace}`,
        {
          metadata: { name: CA_CONFIG_MAP, namespace, ...this.ours },
          data: { "ca.crt": ca.certificate },
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
