import { parseBytes } from "../../config/quantity.ts";
import type { LocalStackSettings } from "../../config/settings.ts";
import { CA_FOLDER } from "../ca-environment.ts";
import { CA_CONFIG_MAP } from "../known-names.ts";
import { nginxContainer } from "../nginx.ts";
import {
  type Container,
  environment,
  hardened,
  listens,
  memory,
  type PodSpec,
  placement,
  unprivileged,
  type Volume,
  type VolumeMount,
} from "../pod-parts.ts";
import {
  DOCKER_BRIDGE,
  DOCKER_SOCKET,
  type EnvironmentOptions,
  GRACE,
  LOCALSTACK_FOLDER,
  localstackEnvironment,
  servicesOf,
} from "./environment.ts";
import { INIT_FOLDER, OWN_PREFIX, START_FOLDER } from "./init-scripts.ts";
import { POD_LAYOUT as LAYOUT, STATE_FILES, VOLUME_FOLDERS } from "./layout.ts";

/** Names of the objects that the pod mounts. */
export const OBJECTS = {
  deployment: "localstack",
  claim: "localstack-data",
  imagesClaim: "localstack-lambda-images",
  files: "localstack-files",
  initScripts: "localstack-init",
  token: "localstack-token",
  certificate: "localstack-tls",
  ca: CA_CONFIG_MAP,
} as const;

/** The user `localstack` of LocalStack's own image; one for every container, so that they read each other's files. */
const USER = 1000;

/** Seconds between two measurements of the volume. */
export const MEASURE_INTERVAL = 1;

const DOCKER_RUN = "/run/homecloud-docker";

/** Where archives of images are read from, inside the pod. */
const IMAGES_FOLDER = "/image-archives";

export interface PodOptions extends EnvironmentOptions {
  /** Whether the gate terminates TLS. */
  gateTls: boolean;
  /** Names of the init scripts. */
  initScripts: string[];
}

/** LocalStack's pod: LocalStack, gate, upload relay, watch and, where functions run in the pod, Docker. */
export function localstackPod(options: PodOptions): PodSpec {
  const { settings } = options;
  return {
    ...unprivileged(USER),
    ...placement(settings),
    terminationGracePeriodSeconds: GRACE,
    // This edition's S3 keeps objects in open files without names: the watch container counts them (OPEN_FILES).
    ...(settings.edition === "ephemeral" ? { shareProcessNamespace: true } : {}),
    // A sidecar starts before the containers and stops after them: functions are never without Docker.
    ...(settings.lambda.mode === "dind" ? { initContainers: [dindContainer(options)] } : {}),
    containers: [
      localstackContainer(options),
      ...[gateContainer(options), uploadsContainer(settings), watchContainer(settings)].map(hardened),
    ],
    volumes: volumes(options),
  };
}

const files: VolumeMount = { name: "files", mountPath: LAYOUT.config, readOnly: true };
const folder = (part: string): string => `${LAYOUT.volume}/${part}`;
const onVolume = (part: string, mountPath: string): VolumeMount => ({ name: "data", mountPath, subPath: part });

/**
 * State files that a kill has left half-written are put right before LocalStack reads them. Not in an init container: those
 * do not run again when this one alone was killed. The image's entry point is named, as the command takes its place.
 *
 * The root stays writable: LocalStack's packages and people's init scripts install things. Nothing of it outlives the pod.
 */
function localstackContainer(options: PodOptions): Container {
  const { settings, initScripts } = options;
  const health = { httpGet: { path: "/_localstack/health", port: LAYOUT.localstackPort } };
  const token = { name: "LOCALSTACK_AUTH_TOKEN", valueFrom: { secretKeyRef: { name: OBJECTS.token, key: "token" } } };
  return {
    name: "localstack",
    image: settings.images.localstack,
    command: ["sh", "-c", startCommand()],
    env: [
      ...environment(localstackEnvironment(options)),
      ...(settings.edition === "pro" ? [token] : []),
      ...(settings.lambda.mode === "host-docker" ? [podAddress] : []),
    ],
    resources: settings.resources.localstack,
    // A large state takes its time to be read.
    startupProbe: { ...health, periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 300 },
    // Long: it answers late while a large state is being saved (1.2 s with 50,000 messages on a busy machine).
    livenessProbe: { ...health, periodSeconds: 20, timeoutSeconds: 10, failureThreshold: 6 },
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] }, ...dockerGroup(settings) },
    volumeMounts: [
      files,
      { name: "data", mountPath: LAYOUT.volume },
      onVolume(settings.edition === "pro" ? VOLUME_FOLDERS.pro : VOLUME_FOLDERS.localstack, LOCALSTACK_FOLDER),
      onVolume(VOLUME_FOLDERS.scratch, "/tmp"),
      // One by one: in a mounted ConfigMap every file is there twice, and each would run twice.
      ...initScripts.map((name) => ({ name: "init", mountPath: `${INIT_FOLDER}/${name}`, subPath: name })),
      ...ownScripts(settings),
      ...dockerMounts(settings),
    ],
  };
}

/** Each variable for the one command only: LocalStack reads its whole environment as settings. */
function startCommand(): string {
  const folders = Object.entries(volumeEnvironment()).map(([name, path]) => `${name}=${path}`);
  return `${folders.join(" ")} python3 ${LAYOUT.config}/keep.py mend; exec docker-entrypoint.sh`;
}

/** What mends LocalStack from within; its pro edition stores and saves in ways of its own. */
function ownScripts({ edition, lambda }: LocalStackSettings): VolumeMount[] {
  return [
    startScript("loopback.py"),
    ...(edition === "pro" ? [] : [startScript("whole_uploads.py")]),
    ...(edition === "community" ? [startScript("saving.py")] : []),
    ...(edition === "community" && lambda.mode !== "none" ? [ownScript(INIT_FOLDER, "wake_lambda.py")] : []),
  ];
}

/** A script that LocalStack runs in its own process while it starts. */
const startScript = (name: string): VolumeMount => ownScript(START_FOLDER, name);

const ownScript = (folder: string, name: string): VolumeMount => ({
  ...files,
  mountPath: `${folder}/${OWN_PREFIX}${name}`,
  subPath: name,
});

/** Functions in the node's Docker find LocalStack at its pod. */
const podAddress = { name: "HOSTNAME_FROM_LAMBDA", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } };

/** LocalStack as it is told of a socket whose group is the node's. */
const dockerGroup = ({ lambda }: LocalStackSettings) =>
  lambda.mode === "host-docker" ? { runAsGroup: lambda.group } : {};

function dockerMounts({ lambda }: LocalStackSettings): VolumeMount[] {
  if (lambda.mode === "dind") {
    return [{ name: "docker", mountPath: DOCKER_RUN }, startScript("functions.py")];
  }
  return lambda.mode === "host-docker" ? [{ name: "docker", mountPath: DOCKER_SOCKET }] : [];
}

function gateContainer({ settings, gateTls }: PodOptions): Container {
  const { healthy, reason } = STATE_FILES;
  // The message of a failed probe is what `kubectl describe` and Pulumi show.
  const ready = `test -f ${LAYOUT.state}/${healthy} || { cat ${LAYOUT.state}/${reason} 2>/dev/null || echo the watch starts; exit 1; }`;
  return {
    ...nginxContainer("gate", settings, LAYOUT),
    ports: [
      { name: "localstack", containerPort: LAYOUT.gatePort },
      { name: "metrics", containerPort: LAYOUT.metricsPort },
    ],
    readinessProbe: {
      exec: { command: ["sh", "-c", ready] },
      periodSeconds: 2,
      timeoutSeconds: 5,
      failureThreshold: 2,
    },
    livenessProbe: listens("metrics"),
    volumeMounts: [
      files,
      { name: "state", mountPath: LAYOUT.state, readOnly: true },
      { name: "counters", mountPath: LAYOUT.counters },
      { name: "gate-tmp", mountPath: LAYOUT.tmp },
      ...(gateTls ? [{ name: "certificate", mountPath: LAYOUT.certificate, readOnly: true }] : []),
    ],
  };
}

function uploadsContainer(settings: LocalStackSettings): Container {
  return {
    name: "uploads",
    image: settings.images.nginx,
    command: ["sh", `${LAYOUT.config}/relay.sh`],
    env: environment({ STATE: LAYOUT.state, TMP: LAYOUT.tmp, UPLOADS_CONF: `${LAYOUT.config}/uploads.conf` }),
    resources: settings.resources.uploads,
    volumeMounts: [
      files,
      { name: "state", mountPath: LAYOUT.state, readOnly: true },
      { name: "uploads-tmp", mountPath: LAYOUT.tmp },
    ],
  };
}

function watchContainer(settings: LocalStackSettings): Container {
  const alive = `test -n "$(find ${LAYOUT.state}/${STATE_FILES.metrics} -mmin -10)"`;
  return {
    name: "watch",
    image: settings.images.localstack,
    command: ["python3", `${LAYOUT.config}/watch.py`],
    env: environment(watchEnvironment(settings)),
    resources: settings.resources.watch,
    livenessProbe: {
      exec: { command: ["sh", "-c", alive] },
      initialDelaySeconds: 30,
      periodSeconds: 30,
      timeoutSeconds: 10,
    },
    volumeMounts: [
      files,
      { name: "data", mountPath: LAYOUT.volume },
      { name: "state", mountPath: LAYOUT.state },
      { name: "counters", mountPath: LAYOUT.counters },
      { name: "watch-tmp", mountPath: LAYOUT.tmp },
    ],
  };
}

const volumeEnvironment = (): Record<string, string> => ({
  VOLUME: LAYOUT.volume,
  PERSISTED: folder(VOLUME_FOLDERS.state),
  KEPT: folder(VOLUME_FOLDERS.kept),
  SCRATCH: folder(VOLUME_FOLDERS.scratch),
});

function watchEnvironment(settings: LocalStackSettings): Record<string, string> {
  const { limitBytes, reserveBytes, keepFreeBytes, lambda, namespace, edition } = settings;
  return {
    ...volumeEnvironment(),
    STATE: LAYOUT.state,
    COUNTERS: LAYOUT.counters,
    LOCALSTACK_URL: `http://${LAYOUT.loopback}:${LAYOUT.localstackPort}`,
    SERVICES: servicesOf(settings).join(","),
    LIMIT: String(limitBytes),
    RESERVE: String(reserveBytes),
    KEEP_FREE: String(keepFreeBytes),
    INTERVAL: String(MEASURE_INTERVAL),
    ANSWERS: `${LAYOUT.config}/answers.json`,
    NAMESPACE: namespace,
    KEEP: edition === "community" ? "1" : "0",
    ...(edition === "ephemeral" ? { OPEN_FILES: "1" } : {}),
    ...(lambda.mode === "dind" ? { LAMBDA_IMAGES_LIMIT: String(parseBytes(lambda.imageStorage)) } : {}),
  };
}

/** Docker for functions. Privileged: it makes containers. Nothing but LocalStack reaches its socket. */
function dindContainer({ settings, privateCa }: PodOptions): Container {
  const { lambda } = settings;
  if (lambda.mode !== "dind") throw new Error("there is no Docker in this pod");
  return {
    name: "docker",
    image: lambda.image,
    restartPolicy: "Always",
    command: ["sh", `${LAYOUT.config}/dind.sh`],
    env: environment({
      SOCKET: DOCKER_SOCKET,
      // Not the volume's root: Docker changes its folder's mode, and kubelet would then give every file another group.
      DATA_ROOT: "/var/lib/docker/data",
      GROUP: String(USER),
      STATE: LAYOUT.state,
      CAP: String(parseBytes(lambda.imageStorage)),
      INTERVAL: "30",
      BRIDGE: `${DOCKER_BRIDGE.address}/${DOCKER_BRIDGE.prefix}`,
      ...(lambda.imagesFolder ? { IMAGES_FOLDER } : {}),
    }),
    resources: lambda.resources,
    // Written once Docker answers and has read the archives of images.
    startupProbe: {
      exec: { command: ["test", "-f", `${LAYOUT.state}/${STATE_FILES.lambdaImages}`] },
      periodSeconds: 1,
      timeoutSeconds: 5,
      failureThreshold: 300,
    },
    securityContext: { privileged: true, runAsUser: 0, runAsGroup: 0, runAsNonRoot: false },
    volumeMounts: [
      files,
      { name: "state", mountPath: LAYOUT.state },
      { name: "docker", mountPath: DOCKER_RUN },
      { name: "lambda-images", mountPath: "/var/lib/docker" },
      ...(lambda.imagesFolder ? [{ name: "image-archives", mountPath: IMAGES_FOLDER, readOnly: true }] : []),
      ...(privateCa ? [{ name: "ca", mountPath: CA_FOLDER, readOnly: true }] : []),
    ],
  };
}

function volumes({ settings, gateTls, privateCa, initScripts }: PodOptions): Volume[] {
  const { lambda } = settings;
  return [
    { name: "data", persistentVolumeClaim: { claimName: OBJECTS.claim } },
    { name: "files", configMap: { name: OBJECTS.files } },
    ...(initScripts.length > 0 ? [{ name: "init", configMap: { name: OBJECTS.initScripts, defaultMode: 0o755 } }] : []),
    ...(gateTls ? [{ name: "certificate", secret: { secretName: OBJECTS.certificate } }] : []),
    ...(lambda.mode === "dind"
      ? [
          { name: "docker", emptyDir: { sizeLimit: "64Mi" } },
          { name: "lambda-images", persistentVolumeClaim: { claimName: OBJECTS.imagesClaim } },
          ...(lambda.imagesFolder
            ? [{ name: "image-archives", hostPath: { path: lambda.imagesFolder, type: "Directory" } }]
            : []),
          ...(privateCa ? [{ name: "ca", configMap: { name: OBJECTS.ca } }] : []),
        ]
      : []),
    ...(lambda.mode === "host-docker" ? [{ name: "docker", hostPath: { path: lambda.socket, type: "Socket" } }] : []),
    memory("state", "1Mi"),
    memory("counters", "16Mi"),
    memory("gate-tmp", "16Mi"),
    memory("uploads-tmp", "16Mi"),
    memory("watch-tmp", "16Mi"),
  ];
}
