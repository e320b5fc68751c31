import { isIP } from "node:net";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { ClusterFacts } from "./cluster/check.ts";
import { CA_VARIABLES } from "./components/ca-environment.ts";
import { ClusterNames, type Rewrite } from "./components/cluster-names.ts";
import { type DnsRecord, dnsmasqLines, dnsRecords } from "./components/dns-records.ts";
import type { WorkloadArgs } from "./components/gated-workload.ts";
import { CA_NAME } from "./components/known-names.ts";
import { envFile } from "./components/localstack/aws-environment.ts";
import { LocalStackStack } from "./components/localstack-stack.ts";
import { Monitoring } from "./components/monitoring.ts";
import { NodeTrust, type ProvenNode } from "./components/node-trust.ts";
import { PiholeRecords } from "./components/pihole-records.ts";
import { PrivateCa } from "./components/private-ca.ts";
import { RegistryStack } from "./components/registry-stack.ts";
import { RegistryUiStack } from "./components/registry-ui-stack.ts";
import { trustedNodes } from "./components/trusted-nodes.ts";
import type { Settings } from "./config/settings.ts";

/** What other stacks may read. Passwords and the Docker config are secret. */
export interface Outputs {
  registryUrl: string;
  /** The web page; undefined where there is none. */
  registryUiUrl: string | undefined;
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
  /** Names for the home network's DNS, wildcards among them; empty where clients use a port of the nodes. */
  dnsRecords: DnsRecord[];
  /** The wildcards as dnsmasq (Pi-hole, OpenWrt) has them: its records have none. */
  dnsmasqLines: string[];
  /** Where AWS clients reach LocalStack; undefined where there is none. */
  localstackEndpoint: string | undefined;
  localstackRegion: string | undefined;
  localstackNamespace: pulumi.Output<string> | undefined;
  /** Variables that every AWS SDK and the CLI read; undefined where there is no LocalStack. */
  awsEnvironment: Record<string, string> | undefined;
  /** The same as a .env file. */
  awsEnvFile: string | undefined;
  /** Nodes that pull from the registry by themselves, what they trust and when that was proven. */
  trustedNodes: pulumi.Output<ProvenNode[]> | undefined;
}

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
  const world: WorkloadArgs = { access, tls, ca, dataProvider };
  const registry = new RegistryStack(
    "registry",
    {
      ...world,
      registry: registrySettings,
      claimSize: found.claimSize,
      caNamespaces: settings.localstack?.clientNamespaces ?? [],
      usedBy: settings.registryUi ? [{ namespace: settings.registryUi.namespace, name: "registry-ui" }] : [],
    },
    inCluster,
  );
  const { namespace, service } = registrySettings;
  const registryUi =
    settings.registryUi &&
    new RegistryUiStack(
      "registry-ui",
      {
        ...world,
        registryUi: settings.registryUi,
        registry: { host: registry.host, namespace, service, reachedBy: registry.service },
      },
      inCluster,
    );
  const localstack =
    settings.localstack &&
    new LocalStackStack(
      "localstack",
      {
        ...world,
        localstack: settings.localstack,
        claimSize: found.localstackClaimSize,
      },
      inCluster,
    );

  const records = homeRecords(settings);
  const workloads = [registry, registryUi, localstack].filter((workload) => workload !== undefined);
  const before: pulumi.Resource[] = [...workloads];
  const { monitoring } = settings;
  if (monitoring) {
    const certificates = workloads.flatMap(({ servedCertificate }) => servedCertificate ?? []);
    const watched = { registry: namespace, localstack: settings.localstack?.namespace, certificates };
    const options = { ...inCluster, dependsOn: workloads };
    before.push(new Monitoring("monitoring", { monitoring, ...watched }, options));
  }
  const rewrites = clusterRewrites(settings);
  if (rewrites.length > 0) before.push(new ClusterNames("cluster-names", { rewrites }, inCluster));
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
  if (trust) {
    const told = { user: registry.puller.name, ca: ca?.certificate };
    trustedNodes(
      { namespace: registry.namespace, nodes: trust.nodes, ...told },
      { provider: cluster, dependsOn: trust },
    );
  }

  return {
    registryUrl: registry.url,
    registryUiUrl: registryUi?.url,
    registryHost: registry.host,
    registryNamespace: registry.namespace,
    registryUser: registry.writer.name,
    registryPassword: registry.writer.password,
    registryPullUser: registry.puller.name,
    registryPullPassword: registry.puller.password,
    registryDockerConfigJson: registry.dockerConfigJson,
    caCertificate: ca?.certificate,
    caEnvironment: ca && CA_VARIABLES,
    dnsRecords: records,
    dnsmasqLines: dnsmasqLines(records),
    localstackEndpoint: localstack?.endpoint,
    localstackRegion: localstack?.region,
    localstackNamespace: localstack?.namespace,
    awsEnvironment: localstack?.awsEnvironment,
    awsEnvFile: localstack && envFile(localstack.awsEnvironment),
    trustedNodes: trust?.nodes,
  };
}

/** What the ingress's names stand for at home. */
function homeRecords(settings: Settings): DnsRecord[] {
  const { access } = settings;
  if (access.mode !== "ingress" || !access.address) return [];
  return dnsRecords(ingressNames(settings), access.address);
}

const ingressNames = ({ registry, registryUi, localstack }: Settings): string[] => [
  ...registry.certificateNames,
  ...(registryUi ? [registryUi.hostName] : []),
  ...(localstack?.dnsNames ?? []),
];

/**
 * What pods are told of the names: the ingress controller's Service or, without an ingress, LocalStack's own, whose URLs
 * must mean the same inside as outside.
 */
function clusterRewrites(settings: Settings): Rewrite[] {
  const { access, localstack, clusterNames } = settings;
  if (clusterNames !== "coredns-custom") return [];
  if (access.mode === "ingress") {
    const service = `${access.service}.${access.namespace}`;
    return ingressNames(settings).map((host) => ({ host, service }));
  }
  if (!localstack || isLoopbackOrAddress(localstack.host)) return [];
  return localstack.dnsNames.map((host) => ({ host, service: `localstack.${localstack.namespace}` }));
}

const isLoopbackOrAddress = (host: string): boolean => isIP(host) !== 0 || /(^|\.)localhost$/.test(host);

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
