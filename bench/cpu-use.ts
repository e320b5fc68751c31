import { readFile } from "node:fs/promises";
import type { Kubectl } from "./kubectl.ts";
import { containerCgroups } from "./pod-cgroups.ts";

/** What a container has used since it started. */
export interface CpuUse {
  /** Processor time. */
  seconds: number;
  /** How long its CPU limit made its threads wait, added up. */
  throttled: number;
}

export type PodCpuUse = Record<string, CpuUse>;

/** Reads the processor time of each container of the pod from the kernel: the lab's node is this machine. */
export async function readCpuUse(kubectl: Kubectl, namespace: string, selector: string): Promise<PodCpuUse> {
  const cgroups = await containerCgroups(kubectl, namespace, selector);
  const entries = Object.entries(cgroups).map(async ([name, path]) => [name, await readCgroup(path)] as const);
  return Object.fromEntries(await Promise.all(entries));
}

/** Use between two readings of the same pod. */
export function cpuUseBetween(before: PodCpuUse, after: PodCpuUse): PodCpuUse {
  const entries = Object.entries(after).map(([name, { seconds, throttled }]) => {
    const start = before[name] ?? { seconds: 0, throttled: 0 };
    return [name, { seconds: seconds - start.seconds, throttled: throttled - start.throttled }] as const;
  });
  return Object.fromEntries(entries);
}

/** cgroup v2 has all in one file; v1 counts nanoseconds in two hierarchies. */
async function readCgroup(cgroup: string): Promise<CpuUse> {
  const v2 = await stat(`/sys/fs/cgroup/${cgroup}/cpu.stat`);
  if (v2) return { seconds: (v2.usage_usec ?? 0) / 1e6, throttled: (v2.throttled_usec ?? 0) / 1e6 };
  const v1 = await stat(`/sys/fs/cgroup/cpu/${cgroup}/cpu.stat`);
  const usage = await readFile(`/sys/fs/cgroup/cpuacct/${cgroup}/cpuacct.usage`, "utf8");
  return { seconds: Number(usage) / 1e9, throttled: (v1?.throttled_time ?? 0) / 1e9 };
}

async function stat(path: string): Promise<Record<string, number> | undefined> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  return text === undefined ? undefined : Object.fromEntries(text.trim().split("\n").map(keyAndNumber));
}

function keyAndNumber(line: string): [string, number] {
  const [key = "", value] = line.split(" ");
  return [key, Number(value)];
}
