import {
  ApiException,
  CoreV1Api,
  CustomObjectsApi,
  KubeConfig,
  StorageV1Api,
  type V1Namespace,
  type V1PersistentVolumeClaim,
  VersionApi,
  type VersionInfo,
} from "@kubernetes/client-node";
import { LONG_UPLOADS_VALUES } from "../components/ingress.ts";
import { STACK_ANNOTATION } from "../components/labels.ts";
import { OBJECTS as LOCALSTACK } from "../components/localstack/pod.ts";
import { OBJECTS as REGISTRY } from "../components/registry/pod.ts";
import { ConfigError } from "../config/load.ts";
import type { Settings } from "../config/settings.ts";
import { generationProblems } from "./generations.ts";
import { monitoringProblems } from "./monitoring.ts";

/** What the cluster holds already that the program must know. */
export interface ClusterFacts {
  /** Size of the registry's volume where an earlier deployment has left it. */
  claimSize?: string | undefined;
  /** Size of LocalStack's volume, likewise. */
  localstackClaimSize?: string | undefined;
}

/** A namespace of the program's own, and the setting that names it. */
interface OwnNamespace {
  key: "registry" | "registryUi" | "localstack";
  namespace: string;
}

/** As much of the settings of a workload with data as the cluster must agree with, and where they stand in the configuration. */
interface Workload extends OwnNamespace {
  storageClass: string;
  claim: string;
  /** Namespaces of others that get something from it, and the setting that names them. */
  others: { setting: string; namespaces: string[] };
}

/** How long the API server may take to answer, in milliseconds. */
const PATIENCE = 10_000;

/**
 * Looks whether the cluster is there and has what the settings name, before the first resource is registered: Pulumi's
 * provider says the same only in the middle of an update, and less plainly. Throws a ConfigError that names every problem.
 */
export async function checkCluster(stack: string, settings: Settings): Promise<ClusterFacts> {
  const config = loadKubeconfig(stack, settings);
  const server = config.getCurrentCluster()?.server;
  const version = await within(config.makeApiClient(VersionApi).getCode()).catch((error: unknown) => {
    throw new ConfigError(stack, [
      `kubeconfig: the cluster at ${server} does not answer (${reason(error)}). Is it running, and is this its context: ${config.getCurrentContext()}?`,
    ]);
  });
  const { items: namespaces } = await config.makeApiClient(CoreV1Api).listNamespace();
  const workloads = workloadsOf(settings);
  const claims = await Promise.all(workloads.map((workload) => keptClaim(config, workload)));
  const problems = await Promise.all([
    ...workloads.flatMap((workload, index) => [
      otherStorageClass(claims[index], workload),
      storageClass(config, workload),
      otherNamespaces(namespaces, workload),
    ]),
    ...ownNamespaces(settings).map((own) => otherStack(namespaces, stack, own)),
    longUploads(config, settings),
    generations(config, settings),
    monitoringProblems(config, namespaces, settings),
    sidecars(version, settings),
  ]);
  if (problems.flat().length > 0) throw new ConfigError(stack, problems.flat());
  const [claimSize, localstackClaimSize] = claims.map((claim) => claim?.spec?.resources?.requests?.storage);
  return { claimSize, localstackClaimSize };
}

/** Kubernetes has containers that start before the others and end after them since 1.29. */
function sidecars({ major, minor }: VersionInfo, { localstack }: Settings): string[] {
  if (localstack?.lambda.mode !== "dind" || Number.parseInt(major, 10) > 1 || Number.parseInt(minor, 10) >= 29)
    return [];
  return [`localstack.lambda.mode: "dind" needs Kubernetes 1.29, and the cluster has ${major}.${minor}; allowed: none`];
}

function ownNamespaces({ registry, registryUi, localstack }: Settings): OwnNamespace[] {
  return [
    { key: "registry", namespace: registry.namespace },
    ...(localstack ? [{ key: "localstack" as const, namespace: localstack.namespace }] : []),
    ...(registryUi ? [{ key: "registryUi" as const, namespace: registryUi.namespace }] : []),
  ];
}

function workloadsOf({ registry, localstack }: Settings): Workload[] {
  const { pullSecretNamespaces } = registry;
  return [
    {
      ...registry,
      key: "registry",
      claim: REGISTRY.claim,
      others: { setting: "registry.pullSecretNamespaces", namespaces: pullSecretNamespaces },
    },
    ...(localstack
      ? [
          {
            ...localstack,
            key: "localstack" as const,
            claim: LOCALSTACK.claim,
            others: { setting: "localstack.clientNamespaces", namespaces: localstack.clientNamespaces },
          },
        ]
      : []),
  ];
}

/** A second stack in the namespace would take over the first one's volume, and a destroy could delete it. */
function otherStack(namespaces: V1Namespace[], stack: string, { key, namespace }: OwnNamespace): string[] {
  const found = namespaces.find(({ metadata }) => metadata?.name === namespace);
  const owner = found?.metadata?.annotations?.[STACK_ANNOTATION];
  if (owner === undefined || owner === stack) return [];
  return [
    `${key}.namespace: "${namespace}" belongs to stack ${owner}; allowed: a namespace of this stack's own ` +
      `(where ${owner} is gone for good: kubectl annotate namespace ${namespace} ${STACK_ANNOTATION}-)`,
  ];
}

async function generations(config: KubeConfig, settings: Settings): Promise<string[]> {
  const { items } = await config
    .makeApiClient(CoreV1Api)
    .listNamespacedSecret({ namespace: settings.registry.namespace });
  const value = (name: string, key: string) => {
    const encoded = items.find(({ metadata }) => metadata?.name === name)?.data?.[key];
    return encoded === undefined ? undefined : Buffer.from(encoded, "base64").toString();
  };
  const htpasswd = value(REGISTRY.users, "htpasswd");
  return generationProblems({ htpasswd, certificate: value(REGISTRY.certificate, "tls.crt") }, settings);
}

/** A claim that was kept stays as it is: what is asked of a new one does not change it. */
async function keptClaim(config: KubeConfig, { namespace, claim }: Workload) {
  const claims = await config.makeApiClient(CoreV1Api).listNamespacedPersistentVolumeClaim({ namespace });
  return claims.items.find(({ metadata }) => metadata?.name === claim);
}

function otherStorageClass(claim: V1PersistentVolumeClaim | undefined, { key, storageClass }: Workload): string[] {
  const has = claim?.spec?.storageClassName;
  if (has === undefined || has === storageClass) return [];
  return [
    `${key}.storageClass: "${storageClass}" is not allowed; allowed: ${has}, which the volume has. ` +
      "To move it: docs/operations.md, back up and restore",
  ];
}

function loadKubeconfig(stack: string, { cluster }: Settings): KubeConfig {
  const config = new KubeConfig();
  const path = cluster.kubeconfig ?? process.env.KUBECONFIG ?? "~/.kube/config";
  try {
    if (cluster.kubeconfig) config.loadFromFile(cluster.kubeconfig);
    else config.loadFromDefault();
  } catch (error) {
    throw new ConfigError(stack, [
      `kubeconfig: ${path} cannot be read (${reason(error)}). Set it with: pulumi config set kubeconfig PATH`,
    ]);
  }
  const contexts = config.getContexts().map(({ name }) => name);
  if (cluster.context && !contexts.includes(cluster.context)) {
    throw new ConfigError(stack, [
      `kubeContext: "${cluster.context}" is not in ${path}; allowed: ${contexts.join(", ") || "none is there"}`,
    ]);
  }
  if (cluster.context) config.setCurrentContext(cluster.context);
  // Without any kubeconfig the client falls back to localhost:8080, which nobody means.
  if (!config.getCurrentCluster() || config.getCurrentContext() === "loaded-context") {
    throw new ConfigError(stack, [
      `kubeconfig: there is no cluster in ${path}. Set it with: pulumi config set kubeconfig PATH`,
    ]);
  }
  return config;
}

async function storageClass(config: KubeConfig, { key, storageClass }: Workload): Promise<string[]> {
  const { items } = await config.makeApiClient(StorageV1Api).listStorageClass();
  const names = items.map(({ metadata }) => metadata?.name ?? "");
  if (names.includes(storageClass)) return [];
  return [
    `${key}.storageClass: "${storageClass}" is not in the cluster; allowed: ${names.join(", ") || "none is there"}`,
  ];
}

function otherNamespaces(namespaces: V1Namespace[], { others }: Workload): string[] {
  const names = namespaces.map(({ metadata }) => metadata?.name ?? "");
  return others.namespaces
    .filter((name) => !names.includes(name))
    .map((name) => `${others.setting}: namespace "${name}" is not in the cluster; create it first`);
}

/** A HelmChartConfig `traefik` that is not ours holds other people's values in one string: theirs to change. */
async function longUploads(config: KubeConfig, { access }: Settings): Promise<string[]> {
  if (access.mode !== "ingress" || !access.longUploads) return [];
  const found = await config
    .makeApiClient(CustomObjectsApi)
    .getNamespacedCustomObject({
      group: "helm.cattle.io",
      version: "v1",
      namespace: "kube-system",
      plural: "helmchartconfigs",
      name: "traefik",
    })
    .catch((error: unknown) => {
      if (error instanceof ApiException && error.code === 404) return undefined;
      throw error;
    });
  const labels = (found as { metadata?: { labels?: Record<string, string> } } | undefined)?.metadata?.labels;
  if (!found || labels?.["app.kubernetes.io/part-of"] === "homecloud") return [];
  return [
    "access.longUploads: the cluster has a HelmChartConfig kube-system/traefik already, and there can be only one. " +
      `Leave longUploads off and add this to its valuesContent:\n${LONG_UPLOADS_VALUES.replaceAll(/^/gm, "      ").trimEnd()}`,
  ];
}

function within<T>(work: Promise<T>): Promise<T> {
  const late = new Promise<never>((_, reject) =>
    setTimeout(() => reject(new Error(`no answer in ${PATIENCE / 1000} s`)), PATIENCE).unref(),
  );
  return Promise.race([work, late]);
}

function reason(error: unknown): string {
  if (error instanceof ApiException) return `HTTP ${error.code}`;
  const { cause, code, message } = error as { cause?: { code?: string }; code?: string; message?: string };
  return cause?.code ?? code ?? message ?? String(error);
}
