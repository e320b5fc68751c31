import type { Kubectl } from "./kubectl.ts";

interface PodJson {
  metadata: { uid: string; deletionTimestamp?: string };
  status: { qosClass: string; containerStatuses: { name: string; containerID: string }[] };
}

/** The control group of each container of the pod, below the kernel's folder of them: the lab's node is this machine. */
export async function containerCgroups(
  kubectl: Kubectl,
  namespace: string,
  selector: string,
): Promise<Record<string, string>> {
  const text = await kubectl(["-n", namespace, "get", "pods", "-l", selector, "-o", "json"]);
  const pod = (JSON.parse(text) as { items: PodJson[] }).items.find(({ metadata }) => !metadata.deletionTimestamp);
  if (!pod) throw new Error(`there is no pod ${selector} in ${namespace}`);
  const { qosClass, containerStatuses } = pod.status;
  const parent = `kubepods${qosClass === "Guaranteed" ? "" : `/${qosClass.toLowerCase()}`}/pod${pod.metadata.uid}`;
  return Object.fromEntries(
    containerStatuses.map(({ name, containerID }) => [name, `${parent}/${containerID.replace("containerd://", "")}`]),
  );
}
