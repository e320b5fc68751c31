import { X509Certificate } from "node:crypto";
import type { V1Pod } from "@kubernetes/client-node";
import { clientObject } from "../../components/known-names.ts";
import { ForbiddenError, isReady, type Kube } from "../cluster/kube.ts";
import { provenNodes } from "../cluster/nodes.ts";
import type { Deployment, Workload, WorkloadName } from "../deployment.ts";
import { parseMetrics } from "./metrics.ts";

/** How one workload is. */
export interface WorkloadStatus {
  name: WorkloadName;
  namespace: string;
  /** In one word or sentence. */
  state: string;
  ready: boolean;
  /** Images of its containers that are not the gate's, without their registries. */
  images: string[];
  /** What clients use, else the address of its Ingress, else the nodes' port. */
  addresses: string[];
  storage: Storage | undefined;
  /** When its certificate ends; undefined where it has none. */
  certificateEnds: Date | undefined;
  /** Fields that are empty because this kubeconfig may not read them. */
  unreadable: string[];
}

export interface Storage {
  used: number;
  limit: number;
  /** Whether writes are refused. */
  full: boolean;
}

/** What the screen shows. */
export interface Status {
  context: string;
  stack: string | undefined;
  workloads: WorkloadStatus[];
  /** Nodes that the last `up` has proven to pull; undefined where NodeTrust is off. */
  trustedNodes: string[] | undefined;
  /** When a collection last ended well; null where there was none, undefined where the registry does not tell. */
  lastCollection: Date | null | undefined;
  /** Whether a collection, backup or restore lets pushes wait; undefined where the registry does not tell. */
  writesHeld: boolean | undefined;
  /** Fields that are empty because this kubeconfig may not read them. */
  unreadable: string[];
}

/** Asks the cluster for all of it. What this kubeconfig may not read is left out, and named. */
export async function readStatus(kube: Kube, deployment: Deployment): Promise<Status> {
  const { registry, localstack, registryUi } = deployment;
  const present: [WorkloadName, Workload | undefined][] = [
    ["registry", registry],
    ["localstack", localstack],
    ["registry-ui", registryUi],
  ];
  const workloads = await Promise.all(
    present.flatMap(([name, workload]) => (workload ? [readWorkload(kube, name, workload)] : [])),
  );
  const unreadable: string[] = [];
  const { namespace } = registry;
  const trustedNodes = await orForbidden(provenNodes(kube, namespace), unreadable, "trustedNodes");
  const asked = readMetrics(kube, "registry", namespace);
  const metrics = await orForbidden(asked, unreadable, "lastCollection", "writesHeld");
  return {
    context: kube.context,
    stack: registry.stack,
    workloads,
    trustedNodes,
    lastCollection: lastCollection(metrics),
    writesHeld: flag(metrics, "homecloud_registry_maintenance"),
    unreadable,
  };
}

/** An answer; undefined, with the fields that it was for noted, where this kubeconfig may not read it. */
async function orForbidden<T>(asked: Promise<T>, unreadable: string[], ...fields: string[]): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (!(error instanceof ForbiddenError)) throw error;
    unreadable.push(...fields);
    return undefined;
  }
}

async function readWorkload(kube: Kube, name: WorkloadName, { namespace }: Workload): Promise<WorkloadStatus> {
  const unreadable: string[] = [];
  const read = <T>(field: string, asked: Promise<T>) => orForbidden(asked, unreadable, field);
  const asked = kube.ask(`the Deployment ${name}`, kube.apps.readNamespacedDeployment({ name, namespace }));
  const [deployment, pod, metrics, certificateEnds, addresses = []] = await Promise.all([
    read("images", asked),
    read("state", kube.podOf(namespace, name)),
    read("storage", readMetrics(kube, name, namespace)),
    read("certificateEnds", readCertificate(kube, name, namespace)),
    read("addresses", readAddresses(kube, name, namespace)),
  ]);
  const containers = deployment?.spec?.template.spec?.containers ?? [];
  const images = containers
    .map(({ image = "" }) => image.replace(/^.*\//, ""))
    .filter((image) => !/^nginx/.test(image));
  const ready = pod !== undefined && isReady(pod);
  const running = flag(metrics, `homecloud_${name}_maintenance`) ? "running, pushes wait" : "running";
  // One whose Deployment may not be read is there, for all that is known.
  const replicas = unreadable.includes("images") ? 1 : deployment?.spec?.replicas;
  const state = unreadable.includes("state") ? "not known" : ready ? running : stateOf(pod, replicas);
  return {
    ...{ name, namespace, ready, state, addresses, certificateEnds, unreadable },
    images: [...new Set(images)],
    storage: storageOf(name, metrics),
  };
}

/** Why a pod is not ready, in the words of whoever knows best. */
function stateOf(pod: V1Pod | undefined, replicas: number | undefined): string {
  if (replicas === undefined) return "there is no Deployment: run pulumi up";
  if (replicas === 0) return "scaled to 0";
  if (!pod) return "there is no pod";
  const containers = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  const waiting = containers.find(({ state }) => state?.waiting)?.state?.waiting;
  if (waiting?.reason && !/PodInitializing|ContainerCreating/.test(waiting.reason)) return waiting.reason;
  const condition = pod.status?.conditions?.find(({ status, message }) => status === "False" && message);
  return condition?.message ?? pod.status?.phase ?? "not ready";
}

type Metrics = Map<string, number> | undefined;

function flag(metrics: Metrics, name: string): boolean | undefined {
  const value = metrics?.get(name);
  return value === undefined ? undefined : value === 1;
}

function lastCollection(metrics: Metrics): Date | null | undefined {
  const seconds = metrics?.get("homecloud_registry_last_collection_timestamp_seconds");
  if (seconds === undefined) return undefined;
  return seconds > 0 ? new Date(seconds * 1000) : null;
}

function storageOf(name: WorkloadName, metrics: Metrics): Storage | undefined {
  const value = (metric: string) => metrics?.get(`homecloud_${name}_${metric}`);
  const [used, limit] = [value("used_bytes"), value("limit_bytes")];
  return used === undefined || limit === undefined ? undefined : { used, limit, full: value("full") === 1 };
}

/**
 * Through the API server: no port of ours is open to this machine. Empty where nobody answers; throws a ForbiddenError where
 * this kubeconfig may not ask.
 */
export async function readMetrics(kube: Kube, name: WorkloadName, namespace: string): Promise<Map<string, number>> {
  const service = { name: `${name}:metrics`, namespace, path: "metrics" };
  const asked = kube.ask(`the metrics of ${name}`, kube.core.connectGetNamespacedServiceProxyWithPath(service));
  const answer = await asked.catch((error: unknown) => {
    if (error instanceof ForbiddenError) throw error;
    return "";
  });
  return parseMetrics(String(answer ?? ""));
}

async function readCertificate(kube: Kube, name: WorkloadName, namespace: string): Promise<Date | undefined> {
  const secretName = `${name}-tls`;
  const secret = await kube.ask(secretName, kube.core.readNamespacedSecret({ name: secretName, namespace }));
  const certificate = secret?.data?.["tls.crt"];
  return certificate ? new Date(new X509Certificate(Buffer.from(certificate, "base64")).validTo) : undefined;
}

/** What clients are told; undefined where there is no such thing, or this kubeconfig may not read it. */
async function clientUrl({ core }: Kube, name: WorkloadName, namespace: string): Promise<string | undefined> {
  const object = { name: clientObject(name), namespace };
  try {
    if (name === "localstack") return (await core.readNamespacedConfigMap(object)).data?.endpoint;
    const url = (await core.readNamespacedSecret(object)).data?.url;
    return url && Buffer.from(url, "base64").toString();
  } catch {
    return undefined;
  }
}

async function readAddresses(kube: Kube, name: WorkloadName, namespace: string): Promise<string[]> {
  const url = await clientUrl(kube, name, namespace);
  if (url) return [url];
  const ingress = await kube.ask(name, kube.networking.readNamespacedIngress({ name, namespace }));
  const hosts = (ingress?.spec?.rules ?? []).map(({ host = "" }) => host).filter((host) => !host.startsWith("*"));
  if (hosts.length > 0) return hosts.map((host) => `https://${host}`);
  const service = await kube.ask(name, kube.core.readNamespacedService({ name: `${name}-node-port`, namespace }));
  const port = service?.spec?.ports?.[0]?.nodePort;
  return port ? [`port ${port} of every node`] : [];
}
