import { readFile, unlink, writeFile } from "node:fs/promises";
import { readIfThere, writeIfChanged } from "../files.ts";
import { runDir } from "../paths.ts";

/** Forwarding for the pods; route_localnet for NodePorts on loopback, set by kube-proxy; the rest by br_netfilter. */
const CLUSTER_KEYS = [
  "net/ipv4/ip_forward",
  "net/ipv4/conf/all/accept_redirects", // The kernel changes it with ip_forward; so it comes after it.
  "net/ipv4/conf/all/route_localnet",
  "net/bridge/bridge-nf-call-iptables",
  "net/bridge/bridge-nf-call-ip6tables",
];

/** What kubelet sets when it starts, whether one wants it or not (container_manager_linux.go). */
const KUBELET_KEYS = [
  "vm/overcommit_memory",
  "vm/panic_on_oom",
  "kernel/panic",
  "kernel/panic_on_oops",
  "kernel/keys/root_maxkeys",
  "kernel/keys/root_maxbytes",
];

// Below /run: after a reboot the kernel has its own values again, and so must the note.
const record = `${runDir}/sysctls.json`;
const path = (key: string): string => `/proc/sys/${key}`;

/** Notes the values of before, unless a start that was not followed by a stop already did. */
export async function recordSysctls(): Promise<void> {
  if ((await readIfThere(record)) !== undefined) return;
  const before: Record<string, string> = {};
  for (const key of [...CLUSTER_KEYS, ...KUBELET_KEYS]) {
    const value = await readIfThere(path(key));
    if (value !== undefined) before[key] = value.trim();
  }
  await writeIfChanged(record, JSON.stringify(before, null, 2));
}

export async function setSysctl(key: string, value: string): Promise<void> {
  if ((await readFile(path(key), "utf8")).trim() !== value) await writeFile(path(key), value);
}

/** Undoes kubelet's as soon as it is up: panic_on_oops restarts a workstation where it would have gone on. */
export async function restoreKubeletSysctls(): Promise<void> {
  await restore(KUBELET_KEYS);
}

/** Puts back everything that `recordSysctls` noted. */
export async function restoreSysctls(): Promise<void> {
  await restore([...CLUSTER_KEYS, ...KUBELET_KEYS]);
  await unlink(record).catch(() => {});
}

async function restore(keys: string[]): Promise<void> {
  const before = JSON.parse((await readIfThere(record)) ?? "{}") as Record<string, string>;
  for (const key of keys) {
    const value = before[key];
    if (value !== undefined) await setSysctl(key, value);
  }
}
