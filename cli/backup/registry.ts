import type { V1Pod } from "@kubernetes/client-node";
import { isReady, type Kube } from "../cluster/kube.ts";
import { EXIT, UserError } from "../errors.ts";
import { type Place, scriptCommand } from "./in-pod.ts";

/** Where the registry's data is moved. Throws a UserError where there is no pod that is ready. */
export async function registryPlace(kube: Kube, namespace: string): Promise<Place> {
  const pod = await kube.podOf(namespace, "registry");
  if (!pod || !isReady(pod)) {
    const state = pod
      ? `the registry's pod ${pod.metadata?.name} is not ready`
      : `the registry in ${namespace} has no pod`;
    throw new UserError(`${state}, and nothing was done: see homecloud status`, EXIT.unreachable);
  }
  return { kube, pod, container: "registry" };
}

export const registryImage = ({ spec }: V1Pod): string =>
  spec?.containers.find(({ name }) => name === "registry")?.image ?? "";

/** What a volume holds, and how much more fits. All in bytes. */
export interface Room {
  /** Whether there is anything that a restore would replace. */
  empty: boolean;
  used: number;
  /** What the disk has left. */
  free: number;
  limit: number;
  /** What the disk is to have left. */
  keepFree: number;
}

export async function registryRoom({ kube, pod }: Place): Promise<Room> {
  return parseRoom(await kube.run(pod, "quota", scriptCommand("registry-pod", "look")));
}

export function parseRoom(line: string): Room {
  const [files = 0, used = 0, free = 0, limit = 0, keepFree = 0] = line.trim().split(" ").map(Number);
  return { empty: files === 0, used, free, limit, keepFree };
}
