import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { loadSettings } from "../../config/load.ts";
import type { Settings } from "../../config/settings.ts";
import { GeneratedValues } from "../../render/generated-values.ts";
import { type Manifest, type Rendered, render } from "../../render/render.ts";
import { readStackFile } from "../../render/stack-file.ts";
import { isLetThrough, type PodEnd, type Policy } from "./network-policy.ts";
import { restrictedProblems } from "./pod-security.ts";
import { NO_UI, SHAPES, settingsOf } from "./stacks.ts";

vi.mock(import("bcryptjs"), async (original) => (await import("./bcrypt-once.ts")).once(await original(), "04"));

vi.spyOn(pulumi.log, "warn").mockResolvedValue();

/** As much of a container as the rules look at. */
interface Container {
  name: string;
  image: string;
  env?: { name: string; value?: string }[];
  ports?: { name: string; containerPort: number }[];
  resources?: { requests?: Record<string, string>; limits?: Record<string, string> };
  securityContext?: {
    privileged?: boolean;
    allowPrivilegeEscalation?: boolean;
    readOnlyRootFilesystem?: boolean;
    capabilities?: { drop?: string[]; add?: string[] };
  };
}

interface Volume {
  name: string;
  hostPath?: { path: string; type: string };
  emptyDir?: { sizeLimit?: string };
  persistentVolumeClaim?: unknown;
}

interface PodSpec {
  automountServiceAccountToken?: boolean;
  enableServiceLinks?: boolean;
  hostNetwork?: boolean;
  hostPID?: boolean;
  hostIPC?: boolean;
  serviceAccountName?: string;
  securityContext?: { runAsNonRoot?: boolean; runAsUser?: number; seccompProfile?: { type?: string } };
  containers: Container[];
  initContainers?: Container[];
  volumes?: Volume[];
}

const FULL = {
  domain: "homelab.local",
  registryPassword: "correct-horse-battery-staple",
  registry: { pullUserGeneration: 2, pullSecretNamespaces: ["apps", "ci"], monitoringNamespace: "monitoring" },
  access: { mode: "ingress", address: "192.168.1.240", longUploads: true, className: "traefik" },
  localstack: {
    edition: "pro",
    clientNamespaces: ["apps", "dev"],
    monitoringNamespace: "monitoring",
    environment: { DEBUG: "1" },
  },
  localstackAuthToken: "ls-correct-horse-battery-staple",
  registryUi: { allowDelete: true, environment: { THEME: "dark" } },
  monitoring: { enabled: true },
};
const HOME = SHAPES["ingress, private CA"];
const LOCALSTACKS = {
  "Docker of the node": { ...HOME, localstack: { lambda: { mode: "host-docker", group: 999 } } },
  "nothing to run functions": { ...HOME, localstack: { lambda: { mode: "none" } } },
  "no LocalStack": { ...HOME, localstack: { enabled: false } },
  "no web page": { ...HOME, ...NO_UI },
};

const root = new URL("../../", import.meta.url);
const stackNames = (await readdir(root)).flatMap((name) => /^Pulumi\.([\w-]+)\.yaml$/.exec(name)?.[1] ?? []);

const stacks: [string, () => Promise<Settings>][] = [
  ...stackNames.map((stack): [string, () => Promise<Settings>] => [
    `Pulumi.${stack}.yaml`,
    async () => loadSettings(await readStackFile("homecloud", stack)),
  ]),
  ...Object.entries({ ...SHAPES, ...LOCALSTACKS, "everything asked for": FULL }).map(
    ([name, config]): [string, () => Promise<Settings>] => [name, async () => settingsOf(config)],
  ),
];

let folder: string;
let generated: GeneratedValues;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "homecloud-unit-"));
  generated = await GeneratedValues.open(join(folder, "values.json"));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

test("every stack file is looked at", () => {
  expect(stackNames).toEqual(expect.arrayContaining(["homelab", "local"]));
});

describe.each(stacks)("%s", (_, load) => {
  let settings: Settings;
  let rendered: Rendered;
  let manifests: Manifest[];

  beforeAll(async () => {
    settings = await load();
    rendered = await render(settings, generated, { project: "homecloud", stack: "test", secrets: true });
    manifests = rendered.manifests;
  });

  const ofKind = (kind: string) => manifests.filter((manifest) => manifest.kind === kind);
  const pods = () => ofKind("Deployment").map((manifest) => podSpec(manifest));
  const containers = () => pods().flatMap((pod) => [...(pod.initContainers ?? []), ...pod.containers]);
  const lambda = () => settings.localstack?.lambda;

  test("there is something to look at", () => {
    expect(containers().length).toBeGreaterThan(0);
    const withPods = ["StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "ReplicaSet"];
    expect(manifests.filter(({ kind }) => withPods.includes(kind))).toEqual([]);
  });

  test("images are pinned and name their registry", () => {
    for (const { image } of containers()) {
      expect(image).toMatch(/^[a-z0-9.-]+\.[a-z]+\/.+(:[\w][\w.-]*|@sha256:[0-9a-f]{64})$/);
      expect(image).not.toMatch(/:latest(@|$)/);
    }
  });

  test("every container has requests and limits, the limits no smaller", () => {
    for (const { name, resources } of containers()) {
      for (const amounts of [resources?.requests, resources?.limits]) {
        expect(amounts?.cpu, name).toMatch(/^[\d.]+m?$/);
        expect(amounts?.memory, name).toMatch(/^[\d.]+[KMG]i$/);
      }
      expect(milli(resources?.limits?.cpu), name).toBeGreaterThanOrEqual(milli(resources?.requests?.cpu));
    }
  });

  test("pods are no one special: not root, no token, nothing of the host but its Docker where asked", () => {
    for (const pod of pods()) {
      expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
      expect(pod.securityContext?.runAsUser).toBeGreaterThan(0);
      expect(pod.automountServiceAccountToken).toBe(false);
      expect(pod.enableServiceLinks).toBe(false);
      expect(pod.hostNetwork || pod.hostPID || pod.hostIPC || pod.serviceAccountName).toBeFalsy();
    }
    const ofHost = pods().flatMap(({ volumes = [] }) => volumes.flatMap(({ hostPath }) => hostPath ?? []));
    const asked = lambda();
    expect(ofHost).toEqual(asked?.mode === "host-docker" ? [{ path: asked.socket, type: "Socket" }] : []);
  });

  test("nothing is privileged but the Docker that functions run in, where they do", () => {
    const privileged = containers().filter(({ securityContext }) => securityContext?.privileged);

    expect(privileged.map(({ name }) => name)).toEqual(lambda()?.mode === "dind" ? ["docker"] : []);
  });

  test("containers write to volumes only, have no capabilities and get none", () => {
    for (const { name, securityContext } of containers().filter(
      ({ securityContext }) => !securityContext?.privileged,
    )) {
      // LocalStack's packages, and people's init scripts, install things.
      expect(securityContext?.readOnlyRootFilesystem, name).toBe(name === "localstack" ? undefined : true);
      expect(securityContext?.allowPrivilegeEscalation, name).toBe(false);
      expect(securityContext?.capabilities, name).toEqual({ drop: ["ALL"] });
    }
  });

  test("no volume on memory or disk grows without a limit", () => {
    for (const { name, emptyDir } of pods().flatMap((pod) => pod.volumes ?? []))
      if (emptyDir) expect(emptyDir.sizeLimit, name).toMatch(/^\d+Mi$/);
  });

  test("what mounts a claim is stopped before it is started anew, and runs once", () => {
    for (const { spec, metadata } of ofKind("Deployment")) {
      const { strategy, replicas } = spec as { strategy?: { type?: string }; replicas?: number };
      const mountsClaim = podSpec({ spec } as unknown as Manifest).volumes?.some(
        (volume) => volume.persistentVolumeClaim,
      );
      if (mountsClaim)
        expect({ strategy, replicas }, metadata.name).toEqual({ strategy: { type: "Recreate" }, replicas: 1 });
    }
  });

  test("a secret is in a Secret and nowhere else", () => {
    const secrets = secretValues(rendered);
    const elsewhere = JSON.stringify(manifests.filter(({ kind }) => kind !== "Secret"));

    expect(secrets.length).toBeGreaterThan(6);
    if (settings.localstack?.authToken) expect(secrets).toContain(settings.localstack.authToken);
    for (const secret of secrets) expect(elsewhere.includes(JSON.stringify(secret).slice(1, -1)), secret).toBe(false);
    expect(elsewhere).not.toMatch(/PRIVATE KEY|\$2[aby]\$/);
    for (const { metadata } of ofKind("Secret")) expect(JSON.stringify(metadata)).not.toMatch(/PRIVATE KEY|\$2[aby]\$/);
  });

  test("every namespace that the program makes denies all traffic by default", () => {
    const namespaces = ofKind("Namespace").map(({ metadata }) => metadata.name);
    const denied = ofKind("NetworkPolicy").filter(
      ({ spec }) => JSON.stringify(spec) === JSON.stringify({ podSelector: {}, policyTypes: ["Ingress", "Egress"] }),
    );

    expect(namespaces.length).toBeGreaterThan(0);
    expect(denied.map(({ metadata }) => metadata.namespace).sort()).toEqual(namespaces.sort());
  });

  test("workloads live in namespaces of the program's own, which refuse every pod that is less hardened than theirs", () => {
    const own = ofKind("Namespace");
    const problemsIn = (namespace: string) =>
      ofKind("Deployment")
        .filter(({ metadata }) => metadata.namespace === namespace)
        .flatMap((manifest) => restrictedProblems(podSpec(manifest)));

    for (const { metadata } of own) {
      const labels = metadata.labels as Record<string, string>;
      const profile = problemsIn(metadata.name).length === 0 ? "restricted" : "privileged";
      expect(labels["pod-security.kubernetes.io/enforce"], metadata.name).toBe(profile);
    }
    expect(problemsIn(settings.registry.namespace)).toEqual([]);
    for (const { metadata } of ofKind("Deployment"))
      expect(own.map((namespace) => namespace.metadata.name)).toContain(metadata.namespace);
  });

  describe("on the network", () => {
    const policies = () => ofKind("NetworkPolicy") as unknown as Policy[];
    /** The program's own pods, and the ports that they have for others. */
    const workloads = () =>
      ofKind("Deployment").map((manifest) => {
        const { template } = manifest.spec as { template: { metadata: { labels: Record<string, string> } } };
        const ports = podSpec(manifest).containers.flatMap((container) => container.ports ?? []);
        const numbers = Object.fromEntries(ports.map(({ name, containerPort }) => [name, containerPort]));
        const { name, namespace = "" } = manifest.metadata;
        const pod: PodEnd = { namespace, labels: template.metadata.labels };
        return { name, pod, gate: numbers[name] ?? 0, metrics: numbers.metrics ?? 0 };
      });
    /** The web page has no metrics. */
    const withMetrics = () => workloads().filter(({ metrics }) => metrics > 0);
    const settingsFor = (name: string) => (name === "registry" ? settings.registry : settings.localstack);
    const stranger: PodEnd = { namespace: "apps", labels: { app: "web" } };
    const ingressController = (): PodEnd => {
      const { access } = settings;
      return access.mode === "ingress" ? { namespace: access.namespace, labels: access.podLabels } : stranger;
    };

    test("the gates are reached through the ingress controller alone, or by everybody on a port of the nodes", () => {
      const byEverybody = settings.access.mode === "node-port";

      for (const { name, pod, gate } of workloads()) {
        expect(gate, name).toBeGreaterThan(0);
        expect(isLetThrough(policies(), ingressController(), pod, gate), name).toBe(true);
        const impostors: PodEnd[] = [
          { ...ingressController(), namespace: "apps" },
          { ...ingressController(), labels: { app: "web" } },
        ];
        for (const other of ["outside" as const, stranger, ...impostors])
          expect(isLetThrough(policies(), other, pod, gate), name).toBe(byEverybody);
      }
    });

    test("the metrics are read from the namespace that is named, and from nowhere else", () => {
      expect(withMetrics().map(({ name }) => name)).toEqual([
        ...(settings.localstack ? ["localstack"] : []),
        "registry",
      ]);
      for (const { name, pod, metrics } of withMetrics()) {
        const monitoring: PodEnd = { namespace: "monitoring", labels: { app: "prometheus" } };
        const isNamed = settingsFor(name)?.monitoringNamespace === "monitoring";

        expect(isLetThrough(policies(), monitoring, pod, metrics), name).toBe(isNamed);
        for (const other of ["outside" as const, stranger, ingressController()])
          expect(isLetThrough(policies(), other, pod, metrics), name).toBe(false);
      }
    });

    test("nothing else of a pod is reached: neither the registry nor LocalStack past its gate", () => {
      const ends = [...workloads().map(({ pod }) => pod), ingressController(), stranger, "outside" as const];

      for (const { name, pod, gate, metrics } of workloads())
        for (const port of [22, 443, 2375, 4510, 4566, 5000, 5001, 8081, 8082, 8090, 9090, 9091].filter(
          (number) => number !== gate && number !== metrics,
        ))
          for (const other of ends) expect(isLetThrough(policies(), other, pod, port), `${name} ${port}`).toBe(false);
    });

    test("only LocalStack reaches out: for images of functions, and whatever those call", () => {
      for (const { name, pod } of workloads())
        for (const other of ["outside" as const, stranger])
          expect(isLetThrough(policies(), pod, other, 443), name).toBe(name === "localstack");
    });

    test("the web page reaches the registry's gate, and nothing else; nobody takes its place", () => {
      const [registry, page] = ["registry", "registry-ui"].map((name) => workloads().find((own) => own.name === name));
      expect(page === undefined).toBe(settings.registryUi === undefined);
      if (!registry || !page) return;

      expect(isLetThrough(policies(), page.pod, registry.pod, registry.gate)).toBe(true);
      expect(isLetThrough(policies(), page.pod, registry.pod, registry.metrics)).toBe(false);
      for (const { name, pod, gate } of workloads().filter(({ name }) => name !== "registry" && name !== "registry-ui"))
        expect(isLetThrough(policies(), page.pod, pod, gate), name).toBe(false);
      const byEverybody = settings.access.mode === "node-port";
      for (const impostor of [
        { ...page.pod, namespace: "apps" },
        { ...page.pod, labels: { app: "web" } },
      ])
        expect(isLetThrough(policies(), impostor, registry.pod, registry.gate)).toBe(
          byEverybody && impostor.namespace === "apps",
        );
    });

    test("whatever else comes to be in a namespace of the program's reaches nothing, and nothing reaches it", () => {
      for (const { pod } of workloads()) {
        const other: PodEnd = { namespace: pod.namespace, labels: { app: "web" } };

        expect(isLetThrough(policies(), other, "outside", 443)).toBe(false);
        expect(isLetThrough(policies(), ingressController(), other, 8080)).toBe(false);
      }
    });

    test("cert-manager's solvers answer the ingress controller where certificates are asked for there", () => {
      const isAsked = settings.tls.mode === "cluster-issuer" && settings.access.mode === "ingress";

      for (const { pod } of workloads()) {
        const solver: PodEnd = { ...pod, labels: { "acme.cert-manager.io/http01-solver": "true" } };
        expect(isLetThrough(policies(), ingressController(), solver, 8089)).toBe(isAsked);
        expect(isLetThrough(policies(), stranger, solver, 8089)).toBe(false);
      }
    });
  });

  test("everything is found by label", () => {
    for (const { kind, metadata } of manifests)
      expect(metadata.labels, `${kind} ${metadata.name}`).toMatchObject({
        "app.kubernetes.io/part-of": "homecloud",
        "app.kubernetes.io/managed-by": "pulumi",
      });
  });

  test("every object stands in a namespace, and no two are the same", () => {
    for (const { kind, metadata } of manifests)
      if (kind !== "Namespace") expect(metadata.namespace, `${kind} ${metadata.name}`).toMatch(DNS_LABEL);
    const ids = manifests.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("names are Kubernetes names", () => {
    for (const { kind, metadata, data, stringData } of manifests) {
      expect(metadata.name).toMatch(kind === "Service" || kind === "Namespace" ? DNS_LABEL : DNS_SUBDOMAIN);
      for (const key of Object.keys({ ...(data as object), ...(stringData as object) })) expect(key).toMatch(DATA_KEY);
      for (const [key, value] of Object.entries({ ...(metadata.labels as Record<string, string>) })) {
        expect(key).toMatch(QUALIFIED_NAME);
        expect(value).toMatch(LABEL_VALUE);
      }
      for (const key of Object.keys({ ...(metadata.annotations as object) })) expect(key).toMatch(QUALIFIED_NAME);
    }
    for (const { name, ports, env } of containers()) {
      expect(name).toMatch(DNS_LABEL);
      for (const port of ports ?? []) expect(port.name).toMatch(PORT_NAME);
      for (const variable of env ?? []) expect(variable.name).toMatch(/^[A-Z][A-Z0-9_]*$/);
    }
    for (const { name } of pods().flatMap((pod) => pod.volumes ?? [])) expect(name).toMatch(DNS_LABEL);
    for (const { spec } of ofKind("Service"))
      for (const port of (spec as { ports: { name: string }[] }).ports) expect(port.name).toMatch(PORT_NAME);
  });
});

// Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
const DNS_LABEL = /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/;
const DNS_SUBDOMAIN = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;
const PORT_NAME = /^(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$/;
const DATA_KEY = /^[-._a-zA-Z0-9]{1,253}$/;
const LABEL_VALUE = /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;
const QUALIFIED_NAME = /^([a-z0-9]([a-z0-9.-]*[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

const podSpec = ({ spec }: Manifest): PodSpec => (spec as { template: { spec: PodSpec } }).template.spec;

/** Thousandths of a processor. */
const milli = (cpu = "0") => (cpu.endsWith("m") ? Number(cpu.slice(0, -1)) : Number(cpu) * 1000);

/** Every text that must stand in Secrets only: passwords, hashes, keys, logins, each part of a file that holds one. */
function secretValues({ manifests, outputs }: Rendered): string[] {
  const files = manifests
    .filter(({ kind }) => kind === "Secret")
    .flatMap(({ stringData }) => Object.entries(stringData as Record<string, string>))
    // A certificate is for everybody to see, as are addresses and names of users; a key is not.
    .filter(([key]) => !["tls.crt", "ca.crt", "url", "host", "username", "gateTls"].includes(key));
  const hashes = files.flatMap(([, text]) =>
    [...text.matchAll(/^[\w.-]+:(\$2y\$\S+)$/gm)].map((match) => String(match[1])),
  );
  const httpSecrets = files.flatMap(([, text]) =>
    [...text.matchAll(/^ +secret: (\S+)$/gm)].map((match) => String(match[1])),
  );
  const logins = files
    .filter(([key]) => key === ".dockerconfigjson")
    .flatMap(([, text]) => Object.values(JSON.parse(text).auths as Record<string, { auth: string; password: string }>))
    .flatMap(({ auth, password }) => [auth, password]);
  const passwords = [outputs.registryPassword, outputs.registryPullPassword].map(String);
  const encoded = passwords.map((password) => Buffer.from(password).toString("base64"));
  return [...files.map(([, text]) => text.trim()), ...hashes, ...httpSecrets, ...logins, ...passwords, ...encoded];
}
