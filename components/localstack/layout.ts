/**
 * Where LocalStack's containers find each other and their files. One place, because nginx, the scripts and the pod must
 * agree on it. Tests run the same files on one machine with a layout of their own.
 */
export interface LocalStackLayout {
  /** Port of the gate, the only one that clients reach. */
  gatePort: number;
  /** Port of the metrics and the health answer. */
  metricsPort: number;
  /** LocalStack's own port. Functions call back to it, so it listens on every address; the NetworkPolicy closes it. */
  localstackPort: number;
  /** Loopback port of the relay that uploads pass through. */
  uploadsPort: number;
  /** Address of LocalStack and the relay. */
  loopback: string;
  /** The volume, whole: what counts against the quota. */
  volume: string;
  /** What the gate must know: written by the watch container, read by the gate. On memory. */
  state: string;
  /** One line for each event to be counted: written by the gate, read and emptied by the watch container. On memory. */
  counters: string;
  /** Private, writable place of each container. On memory. */
  tmp: string;
  /** Configuration files and scripts. */
  config: string;
  /** Folder of the certificate and key, where the gate terminates TLS. */
  certificate: string;
  /** File that access logs go to. */
  accessLog: string;
}

/** The layout in the pod. */
export const POD_LAYOUT: LocalStackLayout = {
  gatePort: 8080,
  metricsPort: 9090,
  localstackPort: 4566,
  uploadsPort: 8082,
  loopback: "127.0.0.1",
  volume: "/volume",
  state: "/run/homecloud/state",
  counters: "/run/homecloud/counters",
  tmp: "/tmp",
  config: "/etc/homecloud",
  certificate: "/etc/homecloud-certificate",
  accessLog: "/dev/stdout",
};

/** Parts of the volume, by folder name. */
export const VOLUME_FOLDERS = {
  /** LocalStack's own: caches, logs and its state. */
  localstack: "localstack",
  /** The same of the pro edition, which reads no state of the others'. */
  pro: "localstack-pro",
  /** The state, within it: one folder a service, with a file of its records, and what they belong to. */
  state: "localstack/state",
  /** The last copies of state files that could be read. */
  kept: "kept",
  /** Temporary files of LocalStack's, which may be as large as what is uploaded: emptied at every start. */
  scratch: "scratch",
} as const;

/** Files in the state folder. Their presence, or content, is what the gate goes by. */
export const STATE_FILES = {
  /** No new uploads and no other writes: the reserve is reached or the disk is low. */
  full: "full",
  /** Uploads under way are cut: the limit is reached. */
  over: "over",
  /** Exists while every check passes. */
  healthy: "healthy",
  /** Health as JSON. */
  health: "health.json",
  /** One line for a person: what is wrong. Empty while all is well. */
  reason: "reason",
  metrics: "metrics.txt",
  /** Bytes of the Lambda images, written by the dind container. */
  lambdaImages: "lambda-images.used",
} as const;

/** Answers to refused writes, one for each form of error that AWS has: written by the watch container with the figures. */
export const REFUSALS = ["s3", "dynamodb", "sqs", "lambda", "json"] as const;
export type Refusal = (typeof REFUSALS)[number];

/** File of a refusal in the state folder. */
export const refusalFile = (form: Refusal): string => `full.${form}`;
