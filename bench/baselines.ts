import { randomBytes } from "node:crypto";
import { hash } from "bcryptjs";
import { stringify } from "yaml";
import { DEFAULT_IMAGES } from "../components/images.ts";
import type { ResourceSettings } from "../config/settings.ts";
import { makeCaCertificate, makeCertificate, makeKey } from "../render/certificates.ts";
import type { Target } from "./docker-client.ts";
import type { Kubectl } from "./kubectl.ts";
import type { System } from "./system.ts";

/** Namespace of the baselines; it is removed when the bench ends. */
export const NAMESPACE = "bench";

/** Cost that `htpasswd -B` users are told to take; its own default is 5. */
const TUTORIAL_COST = 10;

const USER = { name: "bench", password: randomBytes(16).toString("hex") };

/** User and group of the registry's process. */
const UID = 1000;

type Resources = ResourceSettings["registry"];

/** What makes one baseline differ from the other. */
interface Baseline {
  name: System["name"];
  /** NodePort, on this machine's loopback only. */
  port: number;
  login: boolean;
}

const BASELINES: Baseline[] = [
  { name: "tutorial", port: 30510, login: true },
  { name: "no login", port: 30511, login: false },
];

/**
 * The registry as a tutorial sets it up, TLS and htpasswd in the registry itself, and the same without a login. Both get
 * these requests and limits.
 */
export async function deployBaselines(kubectl: Kubectl, resources: Resources): Promise<System[]> {
  await removeBaselines(kubectl);
  const certificates = await certificatesForLoopback();
  const htpasswd = `${USER.name}:${(await hash(USER.password, TUTORIAL_COST)).replace(/^\$2b\$/, "$2y$")}\n`;
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } };
  const objects = BASELINES.flatMap((baseline) => {
    const files = { "tls.crt": certificates.certPem, "tls.key": certificates.keyPem, htpasswd };
    return manifests(baseline, { ...files, "config.yml": renderConfig(baseline.login) }, resources);
  });
  const input = [namespace, ...objects].map((object) => stringify(object)).join("---\n");
  await kubectl(["apply", "-f", "-"], { input });
  for (const { name } of BASELINES)
    await kubectl(["-n", NAMESPACE, "rollout", "status", `deployment/${objectName(name)}`, "--timeout=120s"]);
  return BASELINES.map((baseline) => system(kubectl, baseline, certificates.caPem));
}

export async function removeBaselines(kubectl: Kubectl): Promise<void> {
  await kubectl(["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s"]);
}

const objectName = (name: string) => name.replace(" ", "-");

function system(kubectl: Kubectl, { name, port, login }: Baseline, ca: string): System {
  const target: Target = { url: `https://127.0.0.1:${port}`, ca, ...(login ? { user: USER } : {}) };
  const deployment = objectName(name);
  return {
    name,
    target,
    namespace: NAMESPACE,
    selector: `app=${deployment}`,
    // Without a cache of blob descriptors the registry may lose its files while it runs.
    wipe: async () => {
      await kubectl(["-n", NAMESPACE, "exec", `deploy/${deployment}`, "--", "rm", "-rf", "/var/lib/registry/docker"]);
    },
  };
}

/** The image's own configuration, with TLS, perhaps a login, and as in our pod no cache of blob descriptors. */
function renderConfig(login: boolean): string {
  return stringify({
    version: "0.1",
    log: { fields: { service: "registry" } },
    storage: { filesystem: { rootdirectory: "/var/lib/registry" }, delete: { enabled: true } },
    ...(login ? { auth: { htpasswd: { realm: "Registry", path: "/etc/distribution/htpasswd" } } } : {}),
    http: {
      addr: ":5000",
      headers: { "X-Content-Type-Options": ["nosniff"] },
      tls: { certificate: "/etc/distribution/tls.crt", key: "/etc/distribution/tls.key" },
    },
    health: { storagedriver: { enabled: true, interval: "10s", threshold: 3 } },
  });
}

function manifests({ name, port }: Baseline, files: Record<string, string>, resources: Resources): object[] {
  const metadata = { name: objectName(name), namespace: NAMESPACE };
  const labels = { app: objectName(name) };
  const container = {
    name: "registry",
    image: DEFAULT_IMAGES.registry,
    args: ["serve", "/etc/distribution/config.yml"],
    env: [{ name: "OTEL_TRACES_EXPORTER", value: "none" }],
    resources,
    readinessProbe: { tcpSocket: { port: 5000 }, periodSeconds: 2 },
    volumeMounts: [
      { name: "data", mountPath: "/var/lib/registry" },
      { name: "files", mountPath: "/etc/distribution", readOnly: true },
    ],
  };
  const podSpec = {
    automountServiceAccountToken: false,
    terminationGracePeriodSeconds: 5,
    securityContext: { runAsNonRoot: true, runAsUser: UID, runAsGroup: UID, fsGroup: UID },
    containers: [container],
    volumes: [
      { name: "data", persistentVolumeClaim: { claimName: metadata.name } },
      { name: "files", secret: { secretName: metadata.name } },
    ],
  };
  return [
    { apiVersion: "v1", kind: "Secret", metadata, stringData: files },
    {
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata,
      spec: {
        accessModes: ["ReadWriteOnce"],
        storageClassName: "local-path",
        resources: { requests: { storage: "4Gi" } },
      },
    },
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata,
      spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec: podSpec } },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata,
      spec: { type: "NodePort", selector: labels, ports: [{ port: 443, targetPort: 5000, nodePort: port }] },
    },
  ];
}

/** A CA and a certificate of the kind that the private CA issues. */
async function certificatesForLoopback(): Promise<{ caPem: string; certPem: string; keyPem: string }> {
  const request = { dnsNames: ["localhost"], ipAddresses: ["127.0.0.1"], validityHours: 24 };
  const caKey = await makeKey();
  const caPem = await makeCaCertificate({ ...request, keyPem: caKey, commonName: "homecloud bench CA" });
  const keyPem = await makeKey();
  const certPem = await makeCertificate(
    { ...request, keyPem, commonName: "127.0.0.1" },
    { keyPem: caKey, certPem: caPem },
  );
  return { caPem, certPem, keyPem };
}
