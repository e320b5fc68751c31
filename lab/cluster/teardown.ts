import { readdir, readFile, readlink, rm, rmdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { exists, readIfThere } from "../files.ts";
import { deleteMarkedFolder } from "../marked-folder.ts";
import { containerdSocket, runDir, stateDir } from "../paths.ts";
import { isRunning } from "../processes.ts";
import { tools } from "../tools.ts";

const GRACE_MS = 20_000;

/** Ends every container, first by asking: a database wants to write its last page. Kubelet must have ended before. */
export async function endContainers(): Promise<void> {
  if (!(await isRunning("containerd"))) return;
  for (const task of await list("tasks")) await ctr("tasks", "kill", "--signal", "SIGTERM", task);
  const deadline = Date.now() + GRACE_MS;
  while (Date.now() < deadline && (await ctr("tasks", "list")).includes("RUNNING")) await sleep(200);
  for (const task of await list("tasks")) await ctr("tasks", "delete", "--force", task);
}

async function list(kind: "tasks"): Promise<string[]> {
  return (await ctr(kind, "list", "--quiet")).split("\n").filter(Boolean);
}

async function ctr(...args: string[]): Promise<string> {
  const command = ["--address", containerdSocket, "--namespace", "k8s.io", ...args];
  const { stdout } = await execa(tools().bin("ctr"), command, { reject: false });
  return stdout ?? "";
}

/** Unmounts what kubelet and containerd mounted below the lab's folders, the innermost first. */
export async function unmountAll(): Promise<void> {
  const mounts = mountsBelow(await readFile("/proc/self/mounts", "utf8"), [stateDir, runDir]);
  for (const mount of mounts) await execa("umount", ["--lazy", mount]);
}

/** Mount points below the folders in a table such as /proc/mounts, in the order to unmount them. */
export function mountsBelow(table: string, folders: string[]): string[] {
  const points = table.split("\n").map((line) => (line.split(" ")[1] ?? "").replaceAll("\\040", " "));
  return points.filter((point) => folders.some((folder) => point.startsWith(`${folder}/`))).reverse();
}

/** Removes the pods' control groups, which kubelet leaves: children before parents, each in every hierarchy. */
export async function removeCgroups(): Promise<void> {
  const root = "/sys/fs/cgroup";
  const hierarchies = (await exists(`${root}/cgroup.controllers`))
    ? [root]
    : (await readdir(root)).map((name) => join(root, name));
  for (const hierarchy of hierarchies) await removeTree(join(hierarchy, "kubepods"));
}

async function removeTree(cgroup: string): Promise<void> {
  const children = await readdir(cgroup, { withFileTypes: true }).catch(() => []);
  for (const child of children) if (child.isDirectory()) await removeTree(join(cgroup, child.name));
  await rmdir(cgroup).catch(() => {});
}

/** Removes what containerd and kubelet write to folders of their own that no setting moves. */
export async function removeStrayFiles(): Promise<void> {
  await removeCniResults("/var/lib/cni/results");
  await removeLogLinks("/var/log/containers");
  await unlink("/var/lib/kubelet/device-plugins/kubelet.sock").catch(() => {});
  await unlink("/var/lib/kubelet/device-plugins/DEPRECATION").catch(() => {});
  for (const folder of [
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/var/log/containers",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/run/containerd/s",
    "/run/containerd",
  ])
    await rmdir(folder).catch(() => {}); // Goes only if it is empty.
}

/** Kept results of the lab's network, `homecloud-ID-eth0`, and the loopback ones of the same sandboxes. */
async function removeCniResults(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  const ids = names.flatMap((name) => /^homecloud-(\w+)-eth0$/.exec(name)?.[1] ?? []);
  for (const name of names) if (ids.some((id) => name.includes(id))) await unlink(join(folder, name));
}

async function removeLogLinks(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const target = await readlink(join(folder, name)).catch(() => "");
    if (target.startsWith(`${stateDir}/`)) await unlink(join(folder, name));
  }
}

/** Removes the state. Refuses while something is mounted in it: that something would be emptied, not unmounted. */
export async function removeState(): Promise<void> {
  const mounts = mountsBelow((await readIfThere("/proc/self/mounts")) ?? "", [stateDir, runDir]);
  if (mounts.length > 0) throw new Error(`still mounted: ${mounts.join(", ")}`);
  await deleteMarkedFolder(stateDir);
}

/** Sockets, leases and network namespaces: none of them outlives a reboot, and so not a stop. */
export async function removeRunFiles(): Promise<void> {
  await rm(runDir, { recursive: true, force: true });
}
