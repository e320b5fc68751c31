import type { RegistrySettings } from "../../config/settings.ts";
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
} from "../pod-parts.ts";
import { collectorEnvironment, quotaEnvironment } from "./files.ts";
import { POD_LAYOUT as LAYOUT, STATE_FILES } from "./layout.ts";

/** Names of the objects that the pod mounts. */
export const OBJECTS = {
  deployment: "registry",
  claim: "registry-data",
  files: "registry-files",
  config: "registry-config",
  users: "registry-users",
  certificate: "registry-tls",
} as const;

/** One user for every container, so that they read each other's files on the shared volumes. */
const USER = 1000;

/** Seconds between two measurements of the volume. */
export const MEASURE_INTERVAL = 1;

export interface PodOptions {
  settings: RegistrySettings;
  /** Whether the gate terminates TLS. */
  tls: boolean;
}

/** The registry's pod: registry, gate, login check and quota, hardened. */
export function registryPod(options: PodOptions): PodSpec {
  const { settings } = options;
  return {
    ...unprivileged(USER),
    ...placement(settings),
    // Uploads that are under way get this long to end.
    terminationGracePeriodSeconds: 30,
    containers: [
      registryContainer(settings),
      gateContainer(options),
      loginContainer(settings),
      quotaContainer(settings),
    ].map(hardened),
    volumes: volumes(options),
  };
}

/** The command that frees space, as the operator types it. */
export function collectCommand(namespace: string): string {
  return `kubectl -n ${namespace} exec deploy/${OBJECTS.deployment} -c registry -- sh ${LAYOUT.config}/collect-garbage.sh`;
}

function registryContainer(settings: RegistrySettings): Container {
  return {
    name: "registry",
    image: settings.images.registry,
    command: ["registry", "serve", `${LAYOUT.config}/config.yml`],
    env: environment({ ...collectorEnvironment(LAYOUT), OTEL_TRACES_EXPORTER: "none" }),
    resources: settings.resources.registry,
    // It listens on loopback only, out of the kubelet's reach.
    livenessProbe: {
      exec: {
        command: [
          "wget",
          "-q",
          "-O",
          "/dev/null",
          `http://${LAYOUT.loopback}:${LAYOUT.registryDebugPort}/debug/health`,
        ],
      },
      initialDelaySeconds: 10,
      periodSeconds: 20,
      timeoutSeconds: 10,
      failureThreshold: 3,
    },
    volumeMounts: [
      { name: "data", mountPath: LAYOUT.volume },
      { name: "config", mountPath: `${LAYOUT.config}/config.yml`, subPath: "config.yml", readOnly: true },
      ...["collect-garbage.sh", "survey.awk"].map((file) => ({
        name: "files",
        mountPath: `${LAYOUT.config}/${file}`,
        subPath: file,
        readOnly: true,
      })),
      { name: "state", mountPath: LAYOUT.state, readOnly: true },
      { name: "locks", mountPath: LAYOUT.locks },
      { name: "registry-tmp", mountPath: LAYOUT.tmp },
    ],
  };
}

function gateContainer({ settings, tls }: PodOptions): Container {
  const health = { httpGet: { path: "/healthz", port: "metrics" } };
  return {
    ...nginxContainer("gate", settings, LAYOUT),
    ports: [
      { name: "registry", containerPort: LAYOUT.gatePort },
      { name: "metrics", containerPort: LAYOUT.metricsPort },
    ],
    readinessProbe: { ...health, periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 2 },
    livenessProbe: listens("metrics"),
    volumeMounts: [
      { name: "files", mountPath: LAYOUT.config, readOnly: true },
      { name: "state", mountPath: LAYOUT.state, readOnly: true },
      { name: "counters", mountPath: LAYOUT.counters },
      { name: "gate-tmp", mountPath: LAYOUT.tmp },
      ...(tls ? [{ name: "certificate", mountPath: LAYOUT.certificate, readOnly: true }] : []),
    ],
  };
}

function loginContainer(settings: RegistrySettings): Container {
  const check = `wget -O /dev/null http://${LAYOUT.loopback}:${LAYOUT.loginPort}/check 2>&1 | grep -q ' 401 '`;
  return {
    ...nginxContainer("login", settings, LAYOUT),
    // Wrong logins may keep it busy for seconds; only one that answers nothing at all is ended.
    livenessProbe: {
      exec: { command: ["sh", "-c", check] },
      initialDelaySeconds: 10,
      periodSeconds: 30,
      timeoutSeconds: 20,
    },
    volumeMounts: [
      { name: "files", mountPath: LAYOUT.config, readOnly: true },
      { name: "users", mountPath: LAYOUT.users, readOnly: true },
      { name: "login-tmp", mountPath: LAYOUT.tmp },
    ],
  };
}

function quotaContainer(settings: RegistrySettings): Container {
  // Ten minutes: on a spinning disk the walk over a large registry is slow, and to restart it would only begin it anew.
  const alive = `test -n "$(find ${LAYOUT.state}/${STATE_FILES.metrics} -mmin -10)"`;
  const { limitBytes, reserveBytes, keepFreeBytes, namespace } = settings;
  const quota = {
    limitBytes,
    reserveBytes,
    keepFreeBytes,
    interval: MEASURE_INTERVAL,
    remedy: collectCommand(namespace),
  };
  return {
    name: "quota",
    image: settings.images.nginx,
    command: ["sh", `${LAYOUT.config}/measure.sh`],
    env: environment(quotaEnvironment(LAYOUT, quota)),
    resources: settings.resources.quota,
    livenessProbe: {
      exec: { command: ["sh", "-c", alive] },
      initialDelaySeconds: 20,
      periodSeconds: 20,
      timeoutSeconds: 10,
    },
    volumeMounts: [
      { name: "data", mountPath: LAYOUT.volume, readOnly: true },
      { name: "files", mountPath: LAYOUT.config, readOnly: true },
      { name: "state", mountPath: LAYOUT.state },
      { name: "counters", mountPath: LAYOUT.counters },
      { name: "locks", mountPath: LAYOUT.locks },
      { name: "quota-tmp", mountPath: LAYOUT.tmp },
    ],
  };
}

function volumes({ tls }: PodOptions): Volume[] {
  return [
    { name: "data", persistentVolumeClaim: { claimName: OBJECTS.claim } },
    { name: "files", configMap: { name: OBJECTS.files } },
    { name: "config", secret: { secretName: OBJECTS.config } },
    { name: "users", secret: { secretName: OBJECTS.users } },
    ...(tls ? [{ name: "certificate", secret: { secretName: OBJECTS.certificate } }] : []),
    memory("state", "1Mi"),
    memory("counters", "16Mi"),
    memory("locks", "1Mi"),
    memory("gate-tmp", "16Mi"),
    memory("login-tmp", "1Mi"),
    memory("quota-tmp", "1Mi"),
    // The collector's lists of what to keep; distribution holds them in memory and writes little.
    memory("registry-tmp", "16Mi"),
  ];
}
