import { readFile } from "node:fs/promises";
import type { Kubectl } from "./kubectl.ts";
import { containerCgroups } from "./pod-cgroups.ts";

/** Memory of each container of the pod that the kernel cannot take back: what a limit counts, in bytes. */
export async function readMemoryUse(
  kubectl: Kubectl,
  namespace: string,
  selector: string,
): Promise<Record<string, number>> {
  const cgroups = await containerCgroups(kubectl, namespace, selector);
  const entries = Object.entries(cgroups).map(async ([name, path]) => [name, await workingSet(path)] as const);
  return Object.fromEntries(await Promise.all(entries));
}

/** As the kubelet counts it: all but the files that were not used lately. */
async function workingSet(cgroup: string): Promise<number> {
  const v2 = await text(`/sys/fs/cgroup/${cgroup}/memory.current`);
  const root = v2 === undefined ? `/sys/fs/cgroup/memory/${cgroup}` : `/sys/fs/cgroup/${cgroup}`;
  const used = Number(v2 ?? (await readFile(`${root}/memory.usage_in_bytes`, "utf8")));
  const inactive = /^(?:total_)?inactive_file (\d+)$/m.exec(await readFile(`${root}/memory.stat`, "utf8"));
  return used - Number(inactive?.[1] ?? 0);
}

const text = (path: string): Promise<string | undefined> => readFile(path, "utf8").catch(() => undefined);
