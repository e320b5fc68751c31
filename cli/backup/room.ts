import { isReady, type Kube } from "../cluster/kube.ts";
import { type Place, scriptCommand } from "./in-pod.ts";

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

/** Undefined where no pod is there to ask. */
export async function localstackRoom(kube: Kube, namespace: string): Promise<Room | undefined> {
  const pod = await kube.podOf(namespace, "localstack");
  if (!pod || !isReady(pod)) return undefined;
  return parseRoom(await kube.run(pod, "watch", scriptCommand("localstack-pod", "look")));
}

export function parseRoom(line: string): Room {
  const [files = 0, used = 0, free = 0, limit = 0, keepFree = 0] = line.trim().split(" ").map(Number);
  return { empty: files === 0, used, free, limit, keepFree };
}
