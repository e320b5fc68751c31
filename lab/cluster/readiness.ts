import { Resolver } from "node:dns/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { LabError } from "../error.ts";
import { CLUSTER_DNS, KUBERNETES_SERVICE, NODE_NAME, PORTS } from "../network.ts";
import { containerdSocket } from "../paths.ts";
import { isRunning, logFile } from "../processes.ts";
import { tools } from "../tools.ts";
import { kubectl } from "./kubectl.ts";

/** Asks `check` until it says yes; a service that ended meanwhile, or the end of patience, is an error. */
async function until(what: string, service: string, seconds: number, check: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  while (!(await check().catch(() => false))) {
    if (!(await isRunning(service)))
      throw new LabError(`${service} ended; the reason is at the end of ${logFile(service)}`);
    if (Date.now() > deadline) throw new LabError(`${what} after ${seconds} s; ${logFile(service)} may tell why`);
    await sleep(200);
  }
}

export function containerdReady(): Promise<void> {
  return until("containerd does not answer", "containerd", 30, async () => {
    await execa(tools().bin("ctr"), ["--address", containerdSocket, "version"]);
    return true;
  });
}

export function apiServerReady(): Promise<void> {
  return until("the API server is not ready", "kube-apiserver", 90, async () => {
    return (await kubectl(["get", "--raw", "/readyz"])) === "ok";
  });
}

/** After a restart etcd still says Ready of the node that was: kubelet is asked first. */
export async function nodeReady(): Promise<void> {
  await until("kubelet does not answer", "kubelet", 60, async () => {
    return (await fetch(`http://127.0.0.1:${PORTS.kubeletHealth}/healthz`)).ok;
  });
  await until("the node is not ready", "kubelet", 60, async () => {
    const query = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}';
    return (await kubectl(["get", "node", NODE_NAME, "--output", query])) === "True";
  });
}

/** Cluster DNS answers over its service address, and the storage class's provisioner runs. */
export async function addonsReady(): Promise<void> {
  await until("cluster DNS does not answer", "kubelet", 120, async () => {
    const resolver = new Resolver({ timeout: 500, tries: 1 });
    resolver.setServers([CLUSTER_DNS]);
    return (await resolver.resolve4("kubernetes.default.svc.cluster.local")).includes(KUBERNETES_SERVICE);
  });
  await kubectl([
    "--namespace=local-path-storage",
    "rollout",
    "status",
    "deployment/local-path-provisioner",
    "--timeout=90s",
  ]);
}

interface PodList {
  items: { status: { containerStatuses?: { containerID?: string; state?: { running?: object } }[] } }[];
}

/**
 * After a restart the API still shows the containers of before as running, for some ten seconds. Waits until each
 * that is shown as running does run, so that nobody is told "ready" of a pod that is not there.
 */
export function podsAreTrue(): Promise<void> {
  return until("the pods of before the restart are still listed as running", "kubelet", 90, async () => {
    const tasks = await execa(tools().bin("ctr"), [
      "--address",
      containerdSocket,
      "-n",
      "k8s.io",
      "tasks",
      "list",
      "-q",
    ]);
    const pods = JSON.parse(await kubectl(["get", "pods", "--all-namespaces", "--output=json"])) as PodList;
    return shownAsRunning(pods).every((id) => tasks.stdout.includes(id));
  });
}

/** Ids of the containers that the API shows as running. */
export function shownAsRunning(pods: PodList): string[] {
  const containers = pods.items.flatMap((pod) => pod.status.containerStatuses ?? []);
  const running = containers.filter((container) => container.state?.running && container.containerID);
  return running.map((container) => container.containerID?.replace("containerd://", "") ?? "");
}
