import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, test } from "vitest";
import { PrivateCa } from "../../components/private-ca.ts";
import { RegistryUiStack } from "../../components/registry-ui-stack.ts";
import { Engine, isMarkedSecret, settled } from "./mocks.ts";
import { restrictedProblems } from "./pod-security.ts";
import { SHAPES, type Shape, type StackConfig, settingsOf } from "./stacks.ts";

interface Deployed {
  engine: Engine;
  ui: RegistryUiStack;
}

/** The component as a stack with this configuration would make it, every resource registered. */
async function deploy(config: StackConfig): Promise<Deployed> {
  const engine = await Engine.start();
  const { registry, registryUi, access, tls } = settingsOf(config);
  if (!registryUi) throw new Error("there is no web page");
  const dataProvider = new k8s.Provider("cluster-data", { upsertExistingObjects: true });
  const ca =
    tls.mode === "private-ca" ? new PrivateCa("ca", { commonName: "test CA", generation: tls.generation }) : undefined;
  const { host, namespace, service } = registry;
  const reachedBy = new pulumi.ComponentResource("test:index:Registry", "registry");
  const args = { registryUi, registry: { host, namespace, service, reachedBy }, access, tls, ca, dataProvider };
  const ui = new RegistryUiStack("registry-ui", args);
  await pulumi.runtime.disconnect(); // every resource is registered once this returns
  return { engine, ui };
}

const HOME = SHAPES["ingress, private CA"];
const NODE_PORT = SHAPES["node port, private CA"];
const withUi = (registryUi: StackConfig, others: StackConfig = HOME) => ({ ...others, registryUi });

describe.each(Object.keys(SHAPES) as Shape[])("%s", (shape) => {
  let engine: Engine;

  beforeAll(async () => {
    ({ engine } = await deploy(SHAPES[shape]));
  });

  test("nothing outlives a destroy, and nothing that exists is taken over", () => {
    expect(engine.resources.filter(({ options }) => options.retainOnDelete)).toEqual([]);
    expect(engine.resources.filter(({ options }) => options.provider === "cluster-data")).toEqual([]);
    expect(engine.all("PersistentVolumeClaim")).toEqual([]);
  });

  test("the pod is hardened as the namespace demands", () => {
    const { labels } = engine.find("Namespace", "registry-ui").inputs.metadata;

    expect(labels["pod-security.kubernetes.io/enforce"]).toBe("restricted");
    expect(restrictedProblems(podOf(engine))).toEqual([]);
    for (const { name, securityContext } of containersOf(engine))
      expect(securityContext.readOnlyRootFilesystem, name).toBe(true);
    expect(podOf(engine)).toMatchObject({
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: { runAsUser: 101, fsGroup: 101 },
    });
  });

  test("every mounted volume exists, every volume is mounted, and none in the same place twice", () => {
    const mounted = new Set(containersOf(engine).flatMap(({ volumeMounts }) => namesOf(volumeMounts)));

    expect(mounted).toEqual(new Set(namesOf(podOf(engine).volumes)));
    for (const { name, volumeMounts } of containersOf(engine)) {
      const paths = volumeMounts.map(({ mountPath }: { mountPath: string }) => mountPath);
      expect(new Set(paths).size, name).toBe(paths.length);
    }
  });

  test("what the pod mounts is made with it, and there before it", () => {
    const { dependsOn } = engine.find("Deployment", "registry-ui").options;
    const wanted = podOf(engine).volumes.flatMap(
      ({ configMap, secret }: Volume) => configMap?.name ?? secret?.secretName ?? [],
    );

    expect(wanted).toContain("registry-ui-files");
    expect(dependsOn).toEqual(expect.arrayContaining(wanted));
  });

  test("what the entry script of the page's image edits is copied first, and writable by one user", () => {
    const [copy, ...others] = podOf(engine).initContainers;
    const page = container(engine, "page");

    expect(others).toEqual([]);
    expect(copy.image).toBe(page.image);
    expect(copy.command.at(-1)).toBe("cp -R /usr/share/nginx/html/. /copy/html/ && cp -R /etc/nginx/. /copy/nginx/");
    const places = (of: { volumeMounts: Mount[] }) =>
      Object.fromEntries(
        of.volumeMounts.map(({ name, mountPath, subPath, readOnly }) => [mountPath, [name, subPath, readOnly]]),
      );
    expect(places(copy)).toEqual({
      "/copy/html": ["html", undefined, undefined],
      "/copy/nginx": ["nginx", undefined, undefined],
    });
    expect(places(page)).toEqual({
      "/usr/share/nginx/html": ["html", undefined, undefined],
      "/etc/nginx": ["nginx", undefined, undefined],
      "/tmp": ["page-tmp", "tmp", undefined],
      "/var/cache/nginx": ["page-tmp", "var-cache-nginx", undefined],
      "/run": ["page-tmp", "run", undefined],
    });
    expect(page).not.toHaveProperty("command");
    expect(page).not.toHaveProperty("args");
  });

  test("the pod holds no login: visitors bring their own", () => {
    const secrets = engine.all("Secret");

    expect(secrets.map(({ name }) => name)).toEqual(tlsOf(shape) ? ["registry-ui-tls"] : []);
    for (const { marked } of secrets) expect(isMarkedSecret(marked.stringData)).toBe(true);
    expect(JSON.stringify(podOf(engine))).not.toMatch(/password|authorization/i);
  });

  test("is let out to names and to the registry's gate, and nowhere else", () => {
    expect(engine.find("NetworkPolicy", "deny-all").inputs.spec).toEqual({
      podSelector: {},
      policyTypes: ["Ingress", "Egress"],
    });
    expect(engine.find("NetworkPolicy", "registry-ui").inputs.spec.egress).toEqual([
      {
        ports: [
          { protocol: "UDP", port: 53 },
          { protocol: "TCP", port: 53 },
        ],
      },
      {
        to: [
          {
            namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "registry" } },
            podSelector: {
              matchLabels: { "app.kubernetes.io/name": "registry", "app.kubernetes.io/part-of": "homecloud" },
            },
          },
        ],
        ports: [{ protocol: "TCP", port: 8080 }],
      },
    ]);
  });

  test("the registry's name and its gate's address, as its Service has it, are told", () => {
    const { access, registry } = settingsOf(SHAPES[shape]);
    const port = access.mode === "node-port" && tlsOf(shape) ? 443 : 80;

    expect(gateConf(engine)).toContain(`upstream registry { server registry.registry.svc:${port};`);
    expect(gateConf(engine)).toContain(`proxy_set_header Host ${registry.host};`);
    expect(envOf(engine).PULL_URL).toBe(registry.host);
  });
});

describe("the way in", () => {
  test("behind an ingress: HTTPS by its name, plain HTTP to be sent there, and its addresses believed", async () => {
    const { engine, ui } = await deploy(HOME);
    const rules = (name: string) =>
      engine.find("Ingress", name).inputs.spec.rules.map(({ host }: { host: string }) => host);

    expect(ui.url).toBe("https://registry-ui.homelab.local");
    expect(rules("registry-ui")).toEqual(["registry-ui.homelab.local"]);
    expect(rules("registry-ui-redirect")).toEqual(["registry-ui.homelab.local"]);
    expect(engine.find("Ingress", "registry-ui").inputs.spec.tls).toEqual([
      { hosts: ["registry-ui.homelab.local"], secretName: "registry-ui-tls" },
    ]);
    expect(engine.find("CertRequest", "registry-ui-request").inputs.dnsNames).toEqual(["registry-ui.homelab.local"]);
    expect(engine.names("Service")).toEqual(["registry-ui"]);
    expect(gateConf(engine)).toContain("set_real_ip_from 10.42.0.0/16;");
    expect(gateConf(engine)).not.toContain("ssl_certificate");
    const [{ from }] = engine.find("NetworkPolicy", "registry-ui").inputs.spec.ingress;
    expect(from).toEqual([
      {
        namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "kube-system" } },
        podSelector: { matchLabels: { "app.kubernetes.io/name": "traefik" } },
      },
    ]);
  });

  test("cert-manager is asked for a certificate, and its solver let in, where it issues", async () => {
    const { engine } = await deploy(SHAPES["ingress, cluster issuer"]);

    expect(engine.find("Ingress", "registry-ui").inputs.metadata.annotations).toMatchObject({
      "cert-manager.io/cluster-issuer": "letsencrypt",
    });
    expect(engine.names("NetworkPolicy")).toContain("acme-solver");
    expect(gateConf(engine)).toContain("Strict-Transport-Security");
  });

  test("on a port of the nodes: its own TLS, and the registry's gate known by the CA and by name", async () => {
    const { engine, ui } = await deploy(NODE_PORT);

    expect(ui.url).toBe("https://127.0.0.1:30501");
    expect(engine.find("Service", "registry-ui-node-port").inputs.spec).toMatchObject({
      type: "NodePort",
      ports: [{ port: 443, nodePort: 30501, targetPort: "registry-ui" }],
    });
    expect(engine.find("CertRequest", "registry-ui-request").inputs).toMatchObject({
      dnsNames: ["localhost"],
      ipAddresses: ["127.0.0.1"],
    });
    for (const line of [
      "listen 8080 ssl;",
      "proxy_ssl_verify on;",
      "proxy_ssl_name registry.registry.svc;",
      "proxy_ssl_trusted_certificate /etc/homecloud-ca/ca.crt;",
    ])
      expect(gateConf(engine)).toContain(line);
    expect(engine.find("ConfigMap", "registry-ui-ca").inputs.data).toEqual({ "ca.crt": "CERTIFICATE ca-certificate" });
    expect(engine.all("Ingress")).toEqual([]);
    expect(engine.find("NetworkPolicy", "registry-ui").inputs.spec.ingress).toEqual([
      { ports: [{ protocol: "TCP", port: 8080 }] },
    ]);
  });

  test("without TLS there is none from gate to gate either", async () => {
    const { engine, ui } = await deploy(SHAPES["node port, no TLS"]);

    expect(ui.url).toBe("http://localhost:30501");
    expect(gateConf(engine)).not.toMatch(/ssl/);
    expect(engine.names("ConfigMap")).toEqual(["registry-ui-files"]);
  });
});

describe("the pod is made anew", () => {
  const checksum = async (config: StackConfig) => {
    const { engine } = await deploy(config);
    return engine.find("Deployment", "registry-ui").inputs.spec.template.metadata.annotations["homecloud/checksum"];
  };

  test("when its gate is told something else, or knows the registry by another CA", async () => {
    expect(await checksum(withUi({ allowDelete: true }))).not.toBe(await checksum(HOME));
    const renewed = { ...NODE_PORT, tls: { mode: "private-ca", generation: 2 } };
    expect(await checksum(renewed)).not.toBe(await checksum(NODE_PORT));
  });

  test("and not otherwise", async () => {
    expect(await checksum(HOME)).toBe(await checksum(HOME));
  });
});

describe("deleting", () => {
  test("is off unless asked for, in the page and in the gate", async () => {
    const { engine } = await deploy(HOME);

    expect(envOf(engine).DELETE_IMAGES).toBe("false");
    expect(gateConf(engine)).not.toContain("DELETE");
  });

  test("is of manifests only where it is asked for", async () => {
    const { engine } = await deploy(withUi({ allowDelete: true }));

    expect(envOf(engine).DELETE_IMAGES).toBe("true");
    expect(gateConf(engine)).toContain('"~^DELETE /v2/.+/manifests/[^/]+$" 0;');
  });
});

test("settings reach the pod: namespace, image, place, resources, environment", async () => {
  const { engine, ui } = await deploy(
    withUi({
      namespace: "images",
      nodeSelector: { disk: "ssd" },
      tolerations: [{ key: "server", operator: "Exists" }],
      images: { page: "mirror.lan/docker-registry-ui:2.6.1", nginx: "mirror.lan/nginx:1.30" },
      resources: { page: { limits: { memory: "128Mi" } } },
      environment: { THEME: "dark" },
    }),
  );

  expect(await settled(ui.namespace)).toBe("images");
  expect(podOf(engine)).toMatchObject({ nodeSelector: { disk: "ssd" }, tolerations: [{ key: "server" }] });
  expect([container(engine, "page").image, container(engine, "gate").image]).toEqual([
    "mirror.lan/docker-registry-ui:2.6.1",
    "mirror.lan/nginx:1.30",
  ]);
  expect(container(engine, "page").resources.limits.memory).toBe("128Mi");
  expect(envOf(engine).THEME).toBe("dark");
});

interface Volume {
  name: string;
  configMap?: { name: string };
  secret?: { secretName: string };
}

interface Mount {
  name: string;
  mountPath: string;
  subPath?: string;
  readOnly?: boolean;
}

const tlsOf = (shape: Shape) => shape !== "node port, no TLS" && shape !== "ingress, cluster issuer";
const podOf = (engine: Engine) => engine.find("Deployment", "registry-ui").inputs.spec.template.spec;
const containersOf = (engine: Engine) => [...podOf(engine).initContainers, ...podOf(engine).containers];
const container = (engine: Engine, name: string) => containersOf(engine).find((one) => one.name === name);
const namesOf = (things: { name: string }[]) => things.map(({ name }) => name);
const gateConf = (engine: Engine): string => engine.find("ConfigMap", "registry-ui-files").inputs.data["gate.conf"];
const envOf = (engine: Engine): Record<string, string> =>
  Object.fromEntries(
    container(engine, "page").env.map(({ name, value }: { name: string; value: string }) => [name, value]),
  );
