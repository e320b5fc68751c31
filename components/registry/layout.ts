/**
 * Where the registry's containers find each other and their files. One place, because nginx, the shell scripts and the
 * pod must agree on it. Tests run the same files on one machine with a layout of their own.
 */
export interface Layout {
  /** Port of the gate, the only one that clients reach. */
  gatePort: number;
  /** Port of the metrics and the health answer. */
  metricsPort: number;
  /** Loopback ports of the other processes of the pod. */
  registryPort: number;
  registryDebugPort: number;
  loginPort: number;
  writesPort: number;
  /** Address of the registry, the login check and the write relay. */
  loopback: string;
  /** The registry's volume. */
  volume: string;
  /** What the gate must know: written by the quota container, read by the gate. On memory. */
  state: string;
  /** One line for each event to be counted: written by both nginx, read and emptied by the quota container. On memory. */
  counters: string;
  /** Locks of the collector, seen by the quota container. On memory. */
  locks: string;
  /** Private, writable place of each container: process ids, sockets, the login cache. On memory. */
  tmp: string;
  /** Configuration files. */
  config: string;
  /** Folder of the htpasswd file, in the login check only. */
  users: string;
  /** Folder of the certificate and key, where the gate terminates TLS. */
  certificate: string;
  /** File that access logs go to. */
  accessLog: string;
}

/** The layout in the pod. */
export const POD_LAYOUT: Layout = {
  gatePort: 8080,
  metricsPort: 9090,
  registryPort: 5000,
  registryDebugPort: 5001,
  loginPort: 8081,
  writesPort: 8082,
  loopback: "127.0.0.1",
  volume: "/var/lib/registry",
  state: "/run/homecloud/state",
  counters: "/run/homecloud/counters",
  locks: "/run/homecloud/locks",
  tmp: "/tmp",
  config: "/etc/homecloud",
  users: "/etc/homecloud-users",
  certificate: "/etc/homecloud-certificate",
  accessLog: "/dev/stdout",
};

/** Files in the state folder. Their presence, or content, is what the gate goes by. */
export const STATE_FILES = {
  /** No new uploads: the reserve is reached or the disk is low. */
  full: "full",
  /** No writes at all but deletes: the limit is reached. */
  over: "over",
  /** Garbage is being collected. */
  maintenance: "maintenance",
  /** Answer to refused writes, with the figures. */
  fullAnswer: "full.json",
  /** Health as JSON; `healthy` exists while every check passes. */
  health: "health.json",
  healthy: "healthy",
  metrics: "metrics.txt",
  /** How many writes are under way. */
  writers: "writers",
} as const;
