import type { Config } from "./schema.ts";

type Of<T, Mode> = Extract<T, { mode: Mode }>;

/** How certificates come about. */
export type TlsSettings = Config["tls"];
/** How clients reach the cluster: through an Ingress or a port on every node. */
export type AccessSettings = Config["access"];
export type IngressAccess = Of<AccessSettings, "ingress">;
export type ResourceSettings = Config["registry"]["resources"];

/** The registry's part of the settings, with everything derived that more than one place needs. */
export interface RegistrySettings extends Omit<Config["registry"], "host" | "storage" | "reserve" | "keepFree"> {
  /** Name that image references carry, with its port where it is not 443. */
  host: string;
  /** Name of its Service within the cluster. */
  service: string;
  /** Names and addresses that the certificate must carry. */
  certificateNames: string[];
  /** Size of the volume when it is made, as a Kubernetes quantity. */
  storage: string;
  /** Bytes that the registry may keep. */
  limitBytes: number;
  /** Bytes below the limit at which new uploads stop. */
  reserveBytes: number;
  /** Bytes that the node's disk must have left. */
  keepFreeBytes: number;
  /** User who pushes and pulls. */
  user: string;
  /** That user's password; undefined where it is to be generated. Secret. */
  password: string | undefined;
  /** Names of the users who only pull, the current one first. */
  pullUsers: string[];
  /** Namespaces whose pods may read the metrics. */
  monitoringNamespaces: string[];
}

export type LambdaSettings = Config["localstack"]["lambda"];

/** LocalStack's part of the settings, with everything derived that more than one place needs. */
export interface LocalStackSettings
  extends Omit<Config["localstack"], "enabled" | "host" | "port" | "storage" | "reserve" | "keepFree" | "images"> {
  /** Name or address of the endpoint, without its port. */
  host: string;
  /** Port of the endpoint. */
  port: number;
  /** Names and addresses that the certificate must carry, wildcards for buckets among them where the endpoint has a name. */
  certificateNames: string[];
  /** Names that DNS must answer, the wildcard among them; none where the endpoint is an address. */
  dnsNames: string[];
  /** Size of the volume when it is made, as a Kubernetes quantity. */
  storage: string;
  /** Bytes that LocalStack may keep, the images of Lambda included. */
  limitBytes: number;
  /** Bytes below the limit at which writes stop. */
  reserveBytes: number;
  /** Bytes that the node's disk must have left. */
  keepFreeBytes: number;
  images: { localstack: string; nginx: string };
  /** Namespaces whose pods may read the metrics. */
  monitoringNamespaces: string[];
  /** Token of the pro edition. Secret. */
  authToken: string | undefined;
}

/** The web page's part of the settings, with everything derived that more than one place needs. */
export interface RegistryUiSettings extends Omit<Config["registryUi"], "enabled" | "host"> {
  /** Name or address, with its port where that is not 443. */
  host: string;
  /** Name or address, without its port. */
  hostName: string;
  /** Names and addresses that the certificate must carry. */
  certificateNames: string[];
}

/** What the Prometheus operator and Grafana are told, and where they are. */
export type MonitoringSettings = Omit<Config["monitoring"], "enabled">;

/** Pi-hole whose local DNS records the program sets. */
export interface PiholeSettings {
  url: string;
  /** Secret. */
  password: string;
}

type NodeTrustConfig = NonNullable<Config["nodeTrust"]>;

/** A node that is to pull from the registry by itself, and how it is reached. */
export type TrustedNode = NodeTrustConfig["nodes"][number] & {
  /** What it is told with: all in a registries.yaml, or CA and mirror in containerd's hosts.toml. */
  mode: NodeTrustConfig["mode"];
};

/** Nodes that trust the registry, and what else they are told. */
export interface NodeTrustSettings extends Omit<NodeTrustConfig, "nodes" | "mode" | "caCertificate" | "timeLimits"> {
  nodes: TrustedNode[];
  /** Seconds. */
  timeLimits: Required<NodeTrustConfig["timeLimits"]> & { check: number };
  /** SSH key of every node; undefined where the SSH agent's is used. Secret. */
  privateKey: string | undefined;
  /** PEM of the CA behind a cluster issuer that is not public. */
  caCertificate: string | undefined;
}

/** All that the program needs to know, checked. */
export interface Settings {
  cluster: { kubeconfig: string | undefined; context: string | undefined };
  registry: RegistrySettings;
  /** Undefined where there is to be none. */
  registryUi: RegistryUiSettings | undefined;
  /** Undefined where there is to be none. */
  localstack: LocalStackSettings | undefined;
  /** Undefined where there is to be none. */
  monitoring: MonitoringSettings | undefined;
  tls: TlsSettings;
  access: AccessSettings;
  clusterNames: Config["clusterNames"];
  pihole: PiholeSettings | undefined;
  nodeTrust: NodeTrustSettings | undefined;
  /** What is allowed and rarely meant, one line each. */
  warnings: string[];
}
