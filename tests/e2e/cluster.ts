import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { parse } from "yaml";
import { PROJECT } from "../../config/project.ts";
import type { LocalOutputs } from "../../lab/deploy/deploy.ts";
import { applyStack } from "../../lab/deploy/with-render.ts";
import { describeLab, trustRegistry } from "../../lab/lab.ts";

/** The lab that the global setup has started. */
export const lab = describeLab();

export async function kubectl(...args: string[]): Promise<string> {
  const { stdout } = await execa(lab.bin("kubectl"), ["--kubeconfig", lab.kubeconfig, ...args], { env: lab.env });
  return stdout;
}

/** Creates or updates one object. */
export async function apply(object: object): Promise<void> {
  const input = JSON.stringify(object);
  await execa(lab.bin("kubectl"), ["--kubeconfig", lab.kubeconfig, "apply", "-f", "-"], { input, env: lab.env });
}

/** How much longer than on an idle machine something may take before it counts as hanging. */
const BUSY = 4;

/** Waits for something that takes so many seconds at most on an idle machine. */
export const until = (condition: () => Promise<boolean>, seconds: number, what: string): Promise<void> =>
  within(condition, BUSY * seconds, what);

/** Waits for something that is promised within so many seconds, on a busy machine too. */
export async function within(condition: () => Promise<boolean>, seconds: number, what: string): Promise<void> {
  let cause: unknown;
  const failed = (error: unknown) => {
    cause = error;
    return false;
  };
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(300)) {
    if (await condition().catch(failed)) return;
  }
  throw new Error(`not after ${seconds} s: ${what}`, { cause });
}

/** A registry of a test's own, in a namespace and on a port of its own. */
export interface TestStack {
  namespace: string;
  outputs: LocalOutputs;
  /** File with the CA's certificate, alone in its folder. */
  caFile: string;
  caFolder: string;
}

/**
 * Deploys a stack of this name with these settings of its registry, without a web page unless told otherwise, and lets the
 * node trust it. Again with others: an update.
 */
export async function deployStack(
  name: string,
  port: number,
  registry: object = {},
  values: Record<string, string> = {},
  registryUi: object = { enabled: false },
): Promise<TestStack> {
  const namespace = `registry-${name}`;
  const folder = folders.get(name) ?? (await mkdtemp(join(tmpdir(), "homecloud-e2e-")));
  folders.set(name, folder);
  const settings = {
    namespace,
    storage: "256Mi",
    reserve: "32Mi",
    keepFree: "64Mi",
    localRegistryHosting: false,
    ...registry,
  };
  const raw = {
    project: PROJECT,
    stack: name,
    values: {
      [`${PROJECT}:access`]: JSON.stringify({ mode: "node-port", port }),
      [`${PROJECT}:registry`]: JSON.stringify(settings),
      [`${PROJECT}:registryUi`]: JSON.stringify(registryUi),
      [`${PROJECT}:localstack`]: JSON.stringify({ enabled: false }),
      ...values,
    },
    secretKeys: Object.keys(values),
  };
  const outputs = await applyStack(lab, raw, join(folder, "generated.json"));
  const caFolder = join(folder, "ca");
  await mkdir(caFolder, { recursive: true });
  await writeFile(join(caFolder, "ca.crt"), outputs.caCertificate);
  await trustRegistry(outputs.registryHost, { server: outputs.registryUrl, ca: outputs.caCertificate });
  const stack = { namespace, outputs, caFile: join(caFolder, "ca.crt"), caFolder };
  await answers(stack);
  return stack;
}

const folders = new Map<string, string>();

export const removeStack = ({ namespace }: TestStack): Promise<void> => removeNamespaces(namespace);

/**
 * Deletes namespaces with all that is in them. Their pods get one second: LocalStack would take 90 to save what nobody reads
 * again. Returns before the namespaces are gone: no test uses the name or the ports of another.
 */
export async function removeNamespaces(...namespaces: string[]): Promise<void> {
  await Promise.all(namespaces.map(removeNamespace));
}

async function removeNamespace(namespace: string): Promise<void> {
  // First: nothing can be made anew in a namespace that is to go.
  await kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false");
  await endPods(namespace);
}

/** Ends the pods of a namespace after one second, in place of the time that they have to save their data. */
export async function endPods(namespace: string): Promise<void> {
  await kubectl("-n", namespace, "delete", "pods", "--all", "--grace-period=1", "--wait=false");
}

/** Until the node's rules lead to the registry again: kube-proxy follows a new pod a second after it is ready. */
export async function answers({ outputs, caFile }: TestStack): Promise<void> {
  // Bounded: one connection that the node's rules have led to the pod before hangs longer than the whole wait.
  const bounds = ["--connect-timeout", "2", "--max-time", "10"];
  const ping = () =>
    execa("curl", ["--silent", "--output", "/dev/null", ...bounds, "--cacert", caFile, `${outputs.registryUrl}/v2/`]);
  await until(async () => (await ping()).exitCode === 0, 60, `${outputs.registryUrl} answers`);
}

/** The pod of a registry, once it is ready. */
export async function registryPod(namespace: string): Promise<{ name: string; uid: string }> {
  await kubectl("-n", namespace, "rollout", "status", "deployment/registry", "--timeout=120s");
  const pods = parse(await kubectl("-n", namespace, "get", "pods", "-o", "yaml")) as {
    items: { metadata: { name: string; uid: string; deletionTimestamp?: string } }[];
  };
  const alive = pods.items.filter(({ metadata }) => !metadata.deletionTimestamp);
  if (alive.length !== 1 || !alive[0]) throw new Error(`${alive.length} pods in ${namespace}`);
  return { name: alive[0].metadata.name, uid: alive[0].metadata.uid };
}

/** Runs a command in the registry's container. Returns what it printed. */
export const inRegistry = (namespace: string, ...command: string[]): Promise<string> =>
  kubectl("-n", namespace, "exec", "deploy/registry", "-c", "registry", "--", ...command);

/** The garbage collection, as the documentation has it. */
export const collectGarbage = (namespace: string): Promise<string> =>
  inRegistry(namespace, "sh", "/etc/homecloud/collect-garbage.sh");
