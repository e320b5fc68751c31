import { readFile, unlink, writeFile } from "node:fs/promises";
import { readIfThere, writeIfChanged } from "../files.ts";
import { runDir } from "../paths.ts";

/**
 * What the cluster changes in the machine's kernel: forwarding for the pods, route_localnet for NodePorts on loopback
 * (kube-proxy), and what kubelet sets whether or not one asks (container_manager_linux.go).
 */
const CHANGED = [
  "net/ipv4/ip_forward",
  "net/ipv4/conf/all/route_localnet",
  "net/bridge/bridge-nf-call-iptables",
  "net/bridge/bridge-nf-call-ip6tables",
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
  for (const key of CHANGED) {
    const value = await readIfThere(path(key));
    if (value !== undefined) before[key] = value.trim();
  }
  await writeIfChanged(record, JSON.stringify(before, null, 2));
}

export async function setSysctl(key: string, value: string): Promise<void> {
  if ((await readFile(path(key), "utf8")).trim() !== value) await writeFile(path(key), value);
}

/** Puts back what `recordSysctls` noted. */
export async function restoreSysctls(): Promise<void> {
  const before = JSON.parse((await readIfThere(record)) ?? "{}") as Record<string, string>;
  for (const [key, value] of Object.entries(before)) await setSysctl(key, value);
  await unlink(record).catch(() => {});
}
