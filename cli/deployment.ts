import { clientObject } from "../components/known-names.ts";
import { PART_OF, STACK_ANNOTATION } from "../components/labels.ts";
import type { Kube } from "./cluster/kube.ts";
import { EXIT, UserError } from "./errors.ts";

/** The workloads, by the names that their labels carry. */
export type WorkloadName = "registry" | "localstack" | "registry-ui";

/** A workload's namespace, and the stack that it belongs to. */
export interface Workload {
  namespace: string;
  stack: string | undefined;
}

/** What clients of the registry need. */
export interface RegistryAccess extends Workload {
  /** For example `https://registry.homelab.local`. */
  url: string;
  /** What image references begin with. */
  host: string;
  /** The user who pushes and pulls. The password never appears in output or errors. */
  user: string;
  password: string;
  /** PEM of the private CA; undefined where the certificate is a public one's. */
  ca: string | undefined;
  /** Whether the gate ends TLS itself, for whoever comes past the ingress. Defaults to no. */
  gateTls?: boolean;
}

/** What clients of LocalStack need. */
export interface LocalStackAccess extends Workload {
  endpoint: string;
  region: string;
  /** The variables that every AWS SDK reads. */
  environment: Record<string, string>;
  ca: string | undefined;
}

/** One Homecloud in a cluster: what one stack has deployed. */
export interface Deployment {
  registry: Workload;
  localstack: Workload | undefined;
  registryUi: Workload | undefined;
}

/**
 * Finds the deployment by its labels. Where a cluster holds several, `namespace` (the registry's) names one. Throws a
 * UserError where there is none or more than one.
 */
export async function findDeployment(kube: Kube, namespace?: string): Promise<Deployment> {
  const list = await kube.ask("the namespaces", kube.core.listNamespace({ labelSelector: PART_OF }));
  const found = (list?.items ?? []).map(({ metadata }) => ({
    name: metadata?.labels?.["app.kubernetes.io/name"] as WorkloadName | undefined,
    namespace: metadata?.name ?? "",
    stack: metadata?.annotations?.[STACK_ANNOTATION],
  }));
  const registries = found.filter(({ name }) => name === "registry");
  const registry = namespace ? registries.find((each) => each.namespace === namespace) : registries[0];
  if (!registry) throw new UserError(notFound(kube, registries, namespace), EXIT.unreachable);
  if (!namespace && registries.length > 1) throw new UserError(several(registries), EXIT.usage);
  const beside = (name: WorkloadName) => found.find((each) => each.name === name && each.stack === registry.stack);
  return { registry, localstack: beside("localstack"), registryUi: beside("registry-ui") };
}

function notFound({ context }: Kube, registries: Workload[], namespace: string | undefined): string {
  const there = registries.map((each) => each.namespace).join(", ");
  if (namespace && there)
    return `no registry of Homecloud's is in the namespace ${namespace}; there is one in: ${there}`;
  return `there is no Homecloud in the cluster of context ${context || "(none)"}: deploy it with pulumi up, or name another --context`;
}

const several = (registries: Workload[]) =>
  `there are ${registries.length} registries of Homecloud's: choose one with --namespace: ${registries.map(({ namespace }) => namespace).join(", ")}`;

/** Reads how the registry is reached, login included: with the kubeconfig's rights. Throws a UserError where it may not. */
export async function registryAccess(kube: Kube, { registry }: Deployment): Promise<RegistryAccess> {
  const { namespace } = registry;
  const name = clientObject("registry");
  const secret = await kube.ask(
    `the Secret ${name} in ${namespace}`,
    kube.core.readNamespacedSecret({ name, namespace }),
  );
  const value = (key: string) => Buffer.from(secret?.data?.[key] ?? "", "base64").toString();
  if (!value("url")) {
    throw new UserError(`there is no Secret ${name} in ${namespace}: run pulumi up once more`, EXIT.missing);
  }
  const ca = value("ca.crt") || undefined;
  return {
    ...registry,
    url: value("url"),
    host: value("host"),
    user: value("username"),
    password: value("password"),
    ca,
    gateTls: value("gateTls") === "true",
  };
}

/** Reads how LocalStack is reached. Throws a UserError where there is none. */
export async function localstackAccess(kube: Kube, { localstack }: Deployment): Promise<LocalStackAccess> {
  if (!localstack) throw new UserError("this deployment has no LocalStack (localstack.enabled: false)", EXIT.missing);
  const { namespace } = localstack;
  const name = clientObject("localstack");
  const map = await kube.ask(
    `the ConfigMap ${name} in ${namespace}`,
    kube.core.readNamespacedConfigMap({ name, namespace }),
  );
  const { endpoint, region = "", "ca.crt": ca, ...environment } = map?.data ?? {};
  if (!endpoint) {
    throw new UserError(`there is no ConfigMap ${name} in ${namespace}: run pulumi up once more`, EXIT.missing);
  }
  return { ...localstack, endpoint, region, environment, ca };
}
