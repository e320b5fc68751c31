import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { ClusterFacts } from "./cluster/check.ts";
import { ClusterNames } from "./components/cluster-names.ts";
import { type DnsRecord, dnsRecords } from "./components/dns-records.ts";
import { NodeTrust, type ProvenNode } from "./components/node-trust.ts";
import { PiholeRecords } from "./components/pihole-records.ts";
import { CA_NAME, PrivateCa } from "./components/private-ca.ts";
import { RegistryStack } from "./components/registry-stack.ts";
import type { Settings } from "./config/settings.ts";

/** What other stacks may read. Passwords and the Docker config are secret. */
export interface Outputs {
  registryUrl: string;
  registryHost: string;
  registryNamespace: pulumi.Output<string>;
  registryUser: string;
  registryPassword: pulumi.Output<string>;
  registryPullUser: string;
  registryPullPassword: pulumi.Output<string>;
  registryDockerConfigJson: pulumi.Output<string>;
  /** PEM; undefined where the certificate is a public CA's or there is none. */
  caCertificate: pulumi.Output<string> | undefined;
  /** Variables that make SDKs trust the CA once it is a file of this name in the pod. */
  caEnvironment: Record<string, string> | undefined;
  /** Names for the home network's DNS; empty where clients use a port of the nodes. */
  dnsRecords: DnsRecord[];
  /** Nodes that pull from the registry by themselves, what they trust and when that was proven. */
  trustedNodes: pulumi.Output<ProvenNode[]> | undefined;
}

/** Where the outputs' variables expect the ConfigMap `homecloud-ca` to be mounted. */
const CA_FILE = "/etc/homecloud-ca/ca.crt";

/** The whole program: settings → providers → components → outputs. `found` is what the cluster holds already. */
export function deploy(settings: Settings, found: ClusterFacts = {}): Outputs {
  const { registry: registrySettings, access, tls, nodeTrust } = settings;
  for (const warning of settings.warnings) pulumi.log.warn(warning);
  const cluster = provider("cluster", settings, {});
  const dataProvider = provider("cluster-data", settings, { upsertExistingObjects: true });
  const inCluster: pulumi.ComponentResourceOptions = { providers: { kubernetes: cluster } };

  const ca =
    tls.mode === "private-ca"
      ? new PrivateCa("homecloud-ca", { commonName: CA_NAME, generation: tls.generation })
      : undefined;
  const registry = new RegistryStack(
    "registry",
    { registry: registrySettings, access, tls, ca, dataProvider, claimSize: found.claimSize },
    inCluster,
  );

  const hosts = access.mode === "ingress" ? registrySettings.certificateNames : [];
  const records = access.mode === "ingress" && access.address ? dnsRecords(hosts, access.address) : [];
  const before: pulumi.Resource[] = [registry];
  if (access.mode === "ingress" && settings.clusterNames === "coredns-custom") {
    const service = `${access.service}.${access.namespace}`;
    before.push(new ClusterNames("cluster-names", { hosts, service }, inCluster));
  }
  if (settings.pihole) before.push(new PiholeRecords("pihole", { ...settings.pihole, records }));
  // After everything else, and before everything else on destroy: on a single server it takes the API away for a while.
  const trust =
    nodeTrust &&
    new NodeTrust(
      "node-trust",
      {
        settings: nodeTrust,
        host: registry.host,
        login: registry.puller,
        ca: ca?.certificate ?? nodeTrust.caCertificate,
      },
      { dependsOn: before },
    );

  return {
    registryUrl: registry.url,
    registryHost: registry.host,
    registryNamespace: registry.namespace,
    registryUser: registry.writer.name,
    registryPassword: registry.writer.password,
    registryPullUser: registry.puller.name,
    registryPullPassword: registry.puller.password,
    registryDockerConfigJson: registry.dockerConfigJson,
    caCertificate: ca?.certificate,
    caEnvironment: ca && { AWS_CA_BUNDLE: CA_FILE, NODE_EXTRA_CA_CERTS: CA_FILE, SSL_CERT_FILE: CA_FILE },
    dnsRecords: records,
    trustedNodes: trust?.nodes,
  };
}

function provider(name: string, { cluster }: Settings, args: k8s.ProviderArgs): k8s.Provider {
  return new k8s.Provider(name, {
    ...(cluster.kubeconfig ? { kubeconfig: cluster.kubeconfig } : {}),
    ...(cluster.context ? { context: cluster.context } : {}),
    // Our objects have fixed names: replacing one would delete what was just made. Checksums roll the pods instead.
    enableSecretMutable: true,
    enableConfigMapMutable: true,
    ...args,
  });
}
