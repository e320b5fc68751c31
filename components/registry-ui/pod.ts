import type { RegistryUiSettings } from "../../config/settings.ts";
import { CA_FOLDER } from "../ca-environment.ts";
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
} from "../pod-parts.ts";
import { CATALOG_LIMIT } from "../registry/distribution.ts";
import { POD_LAYOUT as LAYOUT } from "./layout.ts";

/** Names of the objects that the pod mounts. */
export const OBJECTS = { files: "registry-ui-files", certificate: "registry-ui-tls", ca: "registry-ui-ca" } as const;

/** nginx in the page's image and in the gate's: the files of both belong to it. */
const USER = 101;

export interface UiPodOptions {
  settings: RegistryUiSettings;
  /** What image references begin with. */
  registryHost: string;
  /** Whether the gate terminates TLS. */
  tls: boolean;
}

/** The page's pod: the page as its image has it, and the gate in front of it, hardened. */
export function registryUiPod(options: UiPodOptions): PodSpec {
  const { settings, tls } = options;
  return {
    ...unprivileged(USER),
    ...placement(settings),
    initContainers: [copyContainer(settings)].map(hardened),
    containers: [gateContainer(options), pageContainer(options)].map(hardened),
    volumes: [
      { name: "files", configMap: { name: OBJECTS.files } },
      ...(tls
        ? [
            { name: "certificate", secret: { secretName: OBJECTS.certificate } },
            { name: "ca", configMap: { name: OBJECTS.ca } },
          ]
        : []),
      memory("html", "32Mi"),
      memory("nginx", "1Mi"),
      memory("page-tmp", "16Mi"),
      memory("gate-tmp", "16Mi"),
    ],
  };
}

/** The image's folders that its entry script edits: copies, because the root cannot change. */
const EDITED = { html: "/usr/share/nginx/html", nginx: "/etc/nginx" } as const;

function copyContainer({ images, resources }: RegistryUiSettings): Container {
  const copies = Object.entries(EDITED).map(([name, folder]) => `cp -R ${folder}/. /copy/${name}/`);
  return {
    name: "copy",
    image: images.page,
    command: ["sh", "-c", copies.join(" && ")],
    resources: resources.page,
    volumeMounts: Object.keys(EDITED).map((name) => ({ name, mountPath: `/copy/${name}` })),
  };
}

function pageContainer({ settings, registryHost }: UiPodOptions): Container {
  return {
    name: "page",
    image: settings.images.page,
    env: environment(pageEnvironment(settings, registryHost)),
    resources: settings.resources.page,
    livenessProbe: listens(LAYOUT.pagePort),
    volumeMounts: [
      ...Object.entries(EDITED).map(([name, mountPath]) => ({ name, mountPath })),
      // Its nginx keeps temporary files in one and its process id in the other.
      ...["/tmp", "/var/cache/nginx", "/run"].map((mountPath) => ({
        name: "page-tmp",
        mountPath,
        subPath: mountPath.slice(1).replaceAll("/", "-"),
      })),
    ],
  };
}

/**
 * What the page is told. The user's own settings come first, so that none can undo what the gate is built on.
 * Source: https://github.com/Joxit/docker-registry-ui#available-options
 */
export function pageEnvironment(settings: RegistryUiSettings, registryHost: string): Record<string, string> {
  return {
    REGISTRY_TITLE: registryHost,
    SHOW_CONTENT_DIGEST: "true",
    // Else it asks GitHub for its newest version, from each visitor's browser.
    ENABLE_VERSION_NOTIFICATION: "false",
    ...settings.environment,
    // The page's own origin: the gate has the registry below it.
    REGISTRY_URL: "",
    SINGLE_REGISTRY: "true",
    PULL_URL: registryHost,
    DELETE_IMAGES: String(settings.allowDelete),
    // The page asks once and takes what it gets; the registry refuses to be asked for more.
    CATALOG_ELEMENTS_LIMIT: String(CATALOG_LIMIT),
    NGINX_LISTEN_PORT: String(LAYOUT.pagePort),
  };
}

function gateContainer({ settings, tls }: UiPodOptions): Container {
  const health = { httpGet: { path: "/healthz", port: "health" } };
  return {
    ...nginxContainer("gate", settings, LAYOUT),
    ports: [
      { name: "registry-ui", containerPort: LAYOUT.gatePort },
      { name: "health", containerPort: LAYOUT.healthPort },
    ],
    readinessProbe: { ...health, periodSeconds: 2, timeoutSeconds: 2 },
    livenessProbe: listens("health"),
    volumeMounts: [
      { name: "files", mountPath: LAYOUT.config, readOnly: true },
      { name: "gate-tmp", mountPath: LAYOUT.tmp },
      ...(tls
        ? [
            { name: "certificate", mountPath: LAYOUT.certificate, readOnly: true },
            { name: "ca", mountPath: CA_FOLDER, readOnly: true },
          ]
        : []),
    ],
  };
}
