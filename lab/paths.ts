import { homedir } from "node:os";
import { join } from "node:path";

/** Where the lab's sources are. */
export const labDir = import.meta.dirname;

/** Downloads and builds: nothing in here belongs to a cluster, and all of it can be made again. */
export const cacheDir =
  process.env.HOMECLOUD_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "homecloud");

/** The cluster's own: etcd, volumes, pulled images, keys, logs. */
export const stateDir = process.env.HOMECLOUD_STATE ?? "/var/lib/homecloud-lab";

/** Sockets and whatever else must not survive a reboot. Short, because a socket's path has at most 107 characters. */
export const runDir = "/run/homecloud-lab";

export const containerdSocket = join(runDir, "containerd.sock");
export const storageDir = join(stateDir, "storage");
export const kubeconfigPath = join(stateDir, "kubeconfig");

export const inCache = (...parts: string[]): string => join(cacheDir, ...parts);
export const inState = (...parts: string[]): string => join(stateDir, ...parts);
