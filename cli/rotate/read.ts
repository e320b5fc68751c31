import type { V1ObjectMeta } from "@kubernetes/client-node";
import { caGeneration } from "../../cluster/generations.ts";
import {
  CA_CONFIG_MAP,
  clientObject,
  NODES_CA,
  NODES_USER,
  PULL_SECRET,
  TRUSTED_NODES,
} from "../../components/known-names.ts";
import { PART_OF, STACK_ANNOTATION } from "../../components/labels.ts";
import { OBJECTS } from "../../components/registry/pod.ts";
import type { Kube } from "../cluster/kube.ts";
import type { Context } from "../context.ts";
import type { Deployment, WorkloadName } from "../deployment.ts";

/** A user who only pulls, of one generation: `puller-2`. */
export interface Puller {
  name: string;
  generation: number;
}

/** What a client namespace's pull secret says. */
export interface PullSecret {
  namespace: string;
  /** Undefined where it holds no login for this registry. */
  login: { user: string; password: string } | undefined;
}

/** Someone who was given the CA. */
export interface CaCopy {
  /** Where it stands. */
  where: string;
  pem: string;
}

/** The nodes that the last `up` has told. */
export interface ToldNodes {
  /** When each was proven to pull, ISO 8601, or `never`. */
  provenAt: Record<string, string>;
  /** Undefined where an older program has told them. */
  user: string | undefined;
  ca: string | undefined;
}

/** What a rotation is about: which logins and which CA there are, and who was given them. */
export interface Facts {
  stack: string | undefined;
  namespace: string;
  url: string;
  host: string;
  /** The user who pushes. */
  user: string;
  /** Those who only pull, the newest first. */
  pullers: Puller[];
  /** The stack's own CA, PEM; undefined where certificates come from elsewhere. */
  ca: string | undefined;
  /** Its generation, by the certificate that it has issued. */
  caGeneration: number | undefined;
  pullSecrets: PullSecret[];
  caCopies: CaCopy[];
  /** Certificates of the workloads, PEM, by their names. */
  certificates: { workload: WorkloadName; pem: string }[];
  /** Undefined where the stack tells none. */
  nodes: ToldNodes | undefined;
}

/** Reads all of it with the kubeconfig's rights. */
export async function readFacts(context: Context): Promise<Facts> {
  const { kube } = context;
  const deployment = await context.deployment();
  const { stack, namespace, url, host, user, ca } = await context.registryAccess();
  const pullSecrets = await readPullSecrets(kube, { stack, host });
  const [pullers, caCopies, certificates, nodes] = await Promise.all([
    readPullers(kube, namespace, user),
    readCaCopies(kube, deployment, pullSecrets),
    readCertificates(kube, deployment),
    readNodes(kube, namespace),
  ]);
  const served = certificates.find(({ workload }) => workload === "registry")?.pem;
  const generation = ca && served ? caGeneration(served) : undefined;
  const given = { stack, namespace, url, host, user, ca };
  return { ...given, caGeneration: generation, pullers, pullSecrets, caCopies, certificates, nodes };
}

async function readPullers(kube: Kube, namespace: string, user: string): Promise<Puller[]> {
  const name = OBJECTS.users;
  const secret = await kube.ask(`the Secret ${name}`, kube.core.readNamespacedSecret({ name, namespace }));
  return pullersIn(Buffer.from(secret?.data?.htpasswd ?? "", "base64").toString(), user);
}

/** Those of a htpasswd file, but for the user who pushes; the newest first. */
export function pullersIn(htpasswd: string, writer: string): Puller[] {
  const names = htpasswd.split("\n").map((line) => line.split(":")[0] ?? "");
  return names
    .filter((name) => name !== writer && /-\d+$/.test(name))
    .map((name) => ({ name, generation: Number(/\d+$/.exec(name)?.[0]) }))
    .sort((one, other) => other.generation - one.generation);
}

async function readPullSecrets(
  kube: Kube,
  { stack, host }: { stack: string | undefined; host: string },
): Promise<PullSecret[]> {
  const list = await kube.ask("the pull secrets", kube.core.listSecretForAllNamespaces({ labelSelector: PART_OF }));
  const found = (list?.items ?? []).filter(({ metadata }) => metadata?.name === PULL_SECRET);
  return found.flatMap(({ metadata, data }) => {
    const login = loginFor(host, Buffer.from(data?.[".dockerconfigjson"] ?? "", "base64").toString());
    const ours = stackOf(metadata) === undefined ? login !== undefined : stackOf(metadata) === stack;
    return ours ? [{ namespace: metadata?.namespace ?? "", login }] : [];
  });
}

/** The login for a host in Docker's config.json. */
export function loginFor(host: string, config: string): PullSecret["login"] {
  try {
    const { auths } = JSON.parse(config) as { auths?: Record<string, { username?: string; password?: string }> };
    const { username, password } = auths?.[host] ?? {};
    return username && password ? { user: username, password } : undefined;
  } catch {
    return undefined;
  }
}

/** In client namespaces, and in what LocalStack's own clients read. What names no stack is ours beside a pull secret of ours. */
async function readCaCopies(
  kube: Kube,
  { registry, localstack }: Deployment,
  pullSecrets: PullSecret[],
): Promise<CaCopy[]> {
  const isOurs = (metadata: V1ObjectMeta | undefined) => {
    const stack = stackOf(metadata);
    if (stack !== undefined) return stack === registry.stack;
    return pullSecrets.some(({ namespace }) => namespace === metadata?.namespace);
  };
  const list = await kube.ask("the CA's copies", kube.core.listConfigMapForAllNamespaces({ labelSelector: PART_OF }));
  const inNamespaces = (list?.items ?? [])
    .filter(({ metadata }) => metadata?.name === CA_CONFIG_MAP)
    .filter(({ metadata }) => isOurs(metadata))
    .map(({ metadata, data }) => ({ where: metadata?.namespace ?? "", pem: data?.["ca.crt"] ?? "" }));
  if (!localstack) return inNamespaces;
  const { namespace } = localstack;
  const name = clientObject("localstack");
  const client = await kube.ask(name, kube.core.readNamespacedConfigMap({ name, namespace }));
  const pem = client?.data?.["ca.crt"];
  return pem ? [...inNamespaces, { where: `${namespace} (${name})`, pem }] : inNamespaces;
}

const stackOf = (metadata: V1ObjectMeta | undefined): string | undefined => metadata?.annotations?.[STACK_ANNOTATION];

async function readCertificates(kube: Kube, deployment: Deployment): Promise<Facts["certificates"]> {
  const workloads: WorkloadName[] = ["registry", "localstack", "registry-ui"];
  const read = workloads.map(async (workload) => {
    const { namespace } = deployment[workload === "registry-ui" ? "registryUi" : workload] ?? {};
    if (!namespace) return [];
    const name = `${workload}-tls`;
    const secret = await kube.ask(`the Secret ${name}`, kube.core.readNamespacedSecret({ name, namespace }));
    const pem = Buffer.from(secret?.data?.["tls.crt"] ?? "", "base64").toString();
    return pem ? [{ workload, pem }] : [];
  });
  return (await Promise.all(read)).flat();
}

async function readNodes(kube: Kube, namespace: string): Promise<ToldNodes | undefined> {
  const told = await kube.ask(
    "the trusted nodes",
    kube.core.readNamespacedConfigMap({ name: TRUSTED_NODES, namespace }),
  );
  if (!told) return undefined;
  const { [NODES_USER]: user, [NODES_CA]: ca } = told.metadata?.annotations ?? {};
  return { provenAt: told.data ?? {}, user, ca };
}
