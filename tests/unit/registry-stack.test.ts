import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { compareSync } from "bcryptjs";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { parse } from "yaml";
import { PrivateCa } from "../../components/private-ca.ts";
import { RegistryStack } from "../../components/registry-stack.ts";
import { Engine, isMarkedSecret, settled, withoutSecrets } from "./mocks.ts";
import { SHAPES, type Shape, type StackConfig, settingsOf } from "./stacks.ts";

vi.mock(import("bcryptjs"), async (original) => (await import("./bcrypt-once.ts")).once(await original()));

interface Deployed {
  engine: Engine;
  registry: RegistryStack;
}

/** The component as a stack with this configuration would make it, every resource registered. */
async function deploy(config: StackConfig, claimSize?: string): Promise<Deployed> {
  const engine = await Engine.start();
  const { registry, access, tls } = settingsOf(config);
  const dataProvider = new k8s.Provider("cluster-data", { upsertExistingObjects: true });
  const ca = tls.mode === "private-ca" ? new PrivateCa("ca", { commonName: "test CA" }) : undefined;
  const component = new RegistryStack("registry", { registry, access, tls, ca, dataProvider, claimSize });
  await pulumi.runtime.disconnect(); // every resource is registered once this returns
  return { engine, registry: component };
}

const HOME = SHAPES["ingress, private CA"];
const ingress = (access: StackConfig) => ({ ...HOME, access: { mode: "ingress", ...access } });
const registry = (settings: StackConfig) => ({ ...HOME, registry: settings });

describe.each(Object.keys(SHAPES) as Shape[])("%s", (shape) => {
  let engine: Engine;
  let component: RegistryStack;

  beforeAll(async () => {
    ({ engine, registry: component } = await deploy(SHAPES[shape]));
  });

  test("the claim has a fixed name, is kept on destroy, taken back, and its size left alone", () => {
    const { inputs, options } = engine.find("PersistentVolumeClaim", "registry-data", "registry");

    expect(inputs.spec).toEqual({
      accessModes: ["ReadWriteOnce"],
      storageClassName: "local-path",
      resources: { requests: { storage: "30Gi" } },
    });
    expect(options).toMatchObject({ retainOnDelete: true, ignoreChanges: ["spec"], provider: "cluster-data" });
    expect(engine.find("kubernetes", "cluster-data").inputs.upsertExistingObjects).toBe("true");
  });

  test("the namespace around it is kept too, and refuses pods that are not hardened", () => {
    const { inputs, options } = engine.find("Namespace", "registry");

    expect(options).toMatchObject({ retainOnDelete: true, provider: "cluster-data" });
    expect(inputs.metadata.labels["pod-security.kubernetes.io/enforce"]).toBe("restricted");
  });

  test("nothing but the data outlives a destroy", () => {
    const kept = engine.resources.filter(({ options }) => options.retainOnDelete);

    expect(kept.map(({ name }) => name).sort()).toEqual(["registry", "registry-data"]);
  });

  test("two pods never write at once, and the pod starts behind its network policies", () => {
    const { inputs, options } = engine.find("Deployment", "registry", "registry");

    expect(inputs.spec.replicas).toBe(1);
    expect(inputs.spec.strategy).toEqual({ type: "Recreate" });
    expect(options.dependsOn).toEqual(
      expect.arrayContaining(["registry-data", "registry-deny-all", "registry-registry"]),
    );
  });

  test("the selector finds the pod, and holds nothing that may ever change", () => {
    const { selector, template } = engine.find("Deployment", "registry").inputs.spec;

    expect(template.metadata.labels).toMatchObject(selector.matchLabels);
    expect(Object.keys(selector.matchLabels)).toEqual(["app.kubernetes.io/name", "app.kubernetes.io/part-of"]);
    for (const service of engine.all("Service")) expect(service.inputs.spec.selector).toEqual(selector.matchLabels);
  });

  test("every Secret is secret on its way to the engine, and holds something", () => {
    const secrets = engine.all("Secret");

    expect(secrets.length).toBeGreaterThan(0);
    for (const { marked, inputs } of secrets) {
      expect(isMarkedSecret(marked.stringData)).toBe(true);
      for (const value of Object.values(inputs.stringData)) expect(value).toMatch(/\S/);
    }
  });

  test("no ConfigMap holds a secret", () => {
    const passwords = engine.all("RandomPassword").map(({ name }) => `generated-${name}`);
    const maps = JSON.stringify(engine.all("ConfigMap").map(({ inputs }) => inputs));

    expect(passwords.length).toBeGreaterThan(0);
    for (const password of passwords) expect(maps).not.toContain(password);
    expect(maps).not.toMatch(/\$2[aby]\$|PRIVATE KEY/);
    expect(Object.keys(engine.find("ConfigMap", "registry-files").inputs.data).sort()).toEqual([
      "collect-garbage.sh",
      "gate.conf",
      "login.conf",
      "measure.sh",
      "survey.awk",
      "writes.conf",
    ]);
  });

  test("every user's line in htpasswd has bcrypt of cost 12, in the form that htpasswd writes, and verifies", () => {
    const lines = engine.find("Secret", "registry-users").inputs.stringData.htpasswd.trimEnd().split("\n");

    expect(lines.map((line: string) => line.split(":")[0])).toEqual(["homelab", "puller-1"]);
    for (const [index, password] of [
      "generated-registry-password-writer",
      "generated-registry-password-puller-1",
    ].entries()) {
      const hash = lines[index].split(":")[1];
      expect(hash).toMatch(/^\$2y\$12\$[./A-Za-z0-9]{53}$/);
      expect(compareSync(password, hash.replace("$2y$", "$2b$"))).toBe(true);
    }
  });

  test("whoever comes past the ingress is told whether the gate ends TLS itself, as its port has it", () => {
    const { gateTls } = engine.find("Secret", "registry-client").inputs.stringData;

    expect(gateTls).toBe(String(shape === "node port, private CA"));
    expect(gateConf(engine).includes(" ssl;")).toBe(gateTls === "true");
  });

  test("distribution has an HTTP secret of its own, in a Secret", () => {
    const config = parse(engine.find("Secret", "registry-config").inputs.stringData["config.yml"]);

    expect(config.http.secret).toBe("generated-registry-http-secret");
  });

  test("passwords stay secret on their way out", async () => {
    for (const output of [component.writer.password, component.puller.password, component.dockerConfigJson])
      expect(await pulumi.isSecret(output)).toBe(true);
    expect(component.writer.name).toBe("homelab");
    expect(component.puller.name).toBe("puller-1");
  });

  test("the Docker config logs in to the name that image references carry", async () => {
    const { auths } = JSON.parse(await settled(component.dockerConfigJson));

    expect(Object.keys(auths)).toEqual([component.host]);
    expect(Buffer.from(auths[component.host].auth, "base64").toString()).toBe(
      "homelab:generated-registry-password-writer",
    );
  });

  test("nothing in the namespace is reached, and nothing reaches out, unless a policy says so", () => {
    const { inputs } = engine.find("NetworkPolicy", "deny-all", "registry");

    expect(inputs.spec).toEqual({ podSelector: {}, policyTypes: ["Ingress", "Egress"] });
  });

  test("the registry reaches nothing, and its metrics are nobody's", () => {
    const { spec } = engine.find("NetworkPolicy", "registry", "registry").inputs;

    expect(spec.policyTypes).toEqual(["Ingress", "Egress"]);
    expect(spec.egress).toBeUndefined();
    expect(spec.ingress).toHaveLength(1);
    expect(spec.ingress[0].ports).toEqual([{ protocol: "TCP", port: 8080 }]);
  });

  test("the registry is announced as KEP-1755 wants it", () => {
    const { data } = engine.find("ConfigMap", "local-registry-hosting", "kube-public").inputs;

    expect(parse(data["localRegistryHosting.v1"])).toMatchObject({
      host: component.host,
      hostFromContainerRuntime: component.host,
    });
  });

  test("no pull secret and no CA goes where nobody asked for it", () => {
    expect(engine.names("Secret")).not.toContain("registry-pull");
    expect(engine.names("ConfigMap")).not.toContain("homecloud-ca");
  });

  test("Traefik's own settings are left alone", () => {
    expect(engine.all("HelmChartConfig")).toEqual([]);
  });

  test("everything belongs to the component", () => {
    const own = engine.resources.filter(({ type }) => type.startsWith("kubernetes:"));

    for (const { options } of own) expect(options.parent).toBe("registry");
  });
});

describe("the way in", () => {
  test.each<[Shape, string, number]>([
    ["ingress, private CA", "https://registry.homelab.local", 80],
    ["ingress, cluster issuer", "https://registry.home.example.net", 80],
    ["node port, private CA", "https://127.0.0.1:30500", 443],
    ["node port, no TLS", "http://localhost:30500", 80],
  ])("%s: %s, port %i inside", async (shape, url, port) => {
    const { engine, registry } = await deploy(SHAPES[shape]);

    expect(registry.url).toBe(url);
    expect(registry.host).toBe(url.replace(/https?:\/\//, ""));
    expect(await settled(registry.namespace)).toBe("registry");
    const { spec } = engine.find("Service", "registry", "registry").inputs;
    expect(spec.ports).toEqual([
      { name: "registry", port, targetPort: "registry" },
      { name: "metrics", port: 9090, targetPort: "metrics" },
    ]);
    expect(spec.type).toBeUndefined();
  });

  test("with an ingress there is no node port, and the gate speaks plain HTTP to the ingress alone", async () => {
    const { engine } = await deploy(HOME);

    expect(engine.names("Service")).toEqual(["registry"]);
    expect(gateConf(engine)).not.toContain(" ssl;");
    expect(engine.find("NetworkPolicy", "registry").inputs.spec.ingress[0].from).toEqual([
      {
        namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "kube-system" } },
        podSelector: { matchLabels: { "app.kubernetes.io/name": "traefik" } },
      },
    ]);
  });

  test("with a node port there is no ingress; the port is on every node, the metrics are not", async () => {
    const { engine } = await deploy({ access: { mode: "node-port", port: 31000 } });

    expect(engine.all("Ingress")).toEqual([]);
    expect(engine.find("Service", "registry-node-port").inputs.spec).toMatchObject({
      type: "NodePort",
      ports: [{ name: "registry", port: 443, targetPort: "registry", nodePort: 31000 }],
    });
    expect(engine.find("NetworkPolicy", "registry").inputs.spec.ingress[0].from).toBeUndefined();
  });

  test("where no ingress terminates TLS the gate does, with a certificate for every name", async () => {
    const { engine } = await deploy(SHAPES["node port, private CA"]);

    expect(gateConf(engine)).toContain("listen 8080 ssl;");
    expect(engine.find("CertRequest", "registry-request").inputs).toMatchObject({
      dnsNames: ["localhost", "registry.registry.svc"],
      ipAddresses: ["127.0.0.1"],
    });
    expect(mounts(engine, "gate")).toContain("certificate");
  });

  test("without TLS there is no certificate, and the gate looks for none", async () => {
    const { engine } = await deploy(SHAPES["node port, no TLS"]);

    expect(engine.names("Secret")).not.toContain("registry-tls");
    expect(engine.all("LocallySignedCert")).toEqual([]);
    expect(gateConf(engine)).not.toContain("ssl_certificate");
    expect(mounts(engine, "gate")).not.toContain("certificate");
  });

  test("monitoring is let in to the metrics, and to nothing else, where it is named", async () => {
    const { engine } = await deploy(registry({ monitoringNamespace: "monitoring" }));

    expect(engine.find("NetworkPolicy", "registry").inputs.spec.ingress[1]).toEqual({
      from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "monitoring" } } }],
      ports: [{ protocol: "TCP", port: 9090 }],
    });
  });
});

describe("ingress", () => {
  test("the private CA's certificate is there before the ingress asks for it", async () => {
    const { engine } = await deploy(HOME);
    const { inputs, options } = engine.find("Ingress", "registry", "registry");

    expect(inputs.metadata.annotations).toEqual({ "traefik.ingress.kubernetes.io/router.entrypoints": "websecure" });
    expect(inputs.spec).toEqual({
      ingressClassName: "traefik",
      rules: [
        {
          host: "registry.homelab.local",
          http: {
            paths: [
              { path: "/", pathType: "Prefix", backend: { service: { name: "registry", port: { name: "registry" } } } },
            ],
          },
        },
      ],
      tls: [{ hosts: ["registry.homelab.local"], secretName: "registry-tls" }],
    });
    expect(options.dependsOn).toContain("registry-tls");
    const { type, stringData } = engine.find("Secret", "registry-tls", "registry").inputs;
    expect(type).toBe("kubernetes.io/tls");
    expect(stringData).toEqual({
      "tls.crt": "CERTIFICATE registry-certificate",
      "tls.key": "PRIVATE KEY registry-key",
    });
  });

  test("cert-manager makes the certificate, not Traefik's own ACME", async () => {
    const { engine } = await deploy(SHAPES["ingress, cluster issuer"]);
    const { inputs } = engine.find("Ingress", "registry");

    expect(inputs.metadata.annotations["cert-manager.io/cluster-issuer"]).toBe("letsencrypt");
    expect(inputs.spec.tls).toEqual([{ hosts: ["registry.home.example.net"], secretName: "registry-tls" }]);
    expect(JSON.stringify(engine.resources.map(({ inputs }) => inputs))).not.toContain("certresolver");
    expect(engine.names("Secret")).not.toContain("registry-tls");
    expect(engine.resources.filter(({ type }) => type.startsWith("tls:"))).toEqual([]);
  });

  test("cert-manager's HTTP-01 solvers are reached by the ingress controller; elsewhere there is no such hole", async () => {
    const { engine } = await deploy(SHAPES["ingress, cluster issuer"]);
    const { spec } = engine.find("NetworkPolicy", "acme-solver", "registry").inputs;

    expect(spec.podSelector.matchLabels).toEqual({ "acme.cert-manager.io/http01-solver": "true" });
    expect(spec.ingress[0].ports).toEqual([{ protocol: "TCP", port: 8089 }]);
    expect(spec.ingress[0].from[0].podSelector.matchLabels).toEqual({ "app.kubernetes.io/name": "traefik" });
    expect((await deploy(HOME)).engine.names("NetworkPolicy")).not.toContain("acme-solver");
  });

  test("browsers are told to stay on HTTPS with a public certificate only", async () => {
    const issuer = { mode: "cluster-issuer", issuer: "ca" };
    const hsts = async (config: StackConfig) => gateConf((await deploy(config)).engine).includes("Strict-Transport");

    expect(await hsts(SHAPES["ingress, cluster issuer"])).toBe(true);
    expect(await hsts({ ...HOME, tls: { ...issuer, acme: false } })).toBe(false);
    expect(await hsts(HOME)).toBe(false);
  });

  test("plain HTTP has a route of its own under Traefik, for the gate to redirect", async () => {
    const { engine } = await deploy(HOME);
    const { inputs } = engine.find("Ingress", "registry-redirect");

    expect(inputs.metadata.annotations).toEqual({ "traefik.ingress.kubernetes.io/router.entrypoints": "web" });
    expect(inputs.spec.tls).toBeUndefined();
  });

  test("another controller gets its own annotations, and no second ingress", async () => {
    const { engine } = await deploy(
      ingress({ className: "nginx", podLabels: { app: "ingress-nginx" }, namespace: "ingress" }),
    );
    const { annotations } = engine.find("Ingress", "registry").inputs.metadata;

    expect(engine.names("Ingress")).toEqual(["registry"]);
    expect(annotations["nginx.ingress.kubernetes.io/proxy-body-size"]).toBe("0");
    expect(annotations["nginx.ingress.kubernetes.io/proxy-request-buffering"]).toBe("off");
    expect(Object.keys(annotations).filter((key) => key.startsWith("traefik."))).toEqual([]);
    expect(engine.find("NetworkPolicy", "registry").inputs.spec.ingress[0].from[0]).toEqual({
      namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "ingress" } },
      podSelector: { matchLabels: { app: "ingress-nginx" } },
    });
  });

  test("`up` waits for the ingress's address unless told that there will be none", async () => {
    const { engine } = await deploy(ingress({ waitForAddress: false }));

    for (const { inputs } of engine.all("Ingress"))
      expect(inputs.metadata.annotations["pulumi.com/skipAwait"]).toBe("true");
  });

  test("Traefik gets 30 minutes for an upload where asked", async () => {
    const { engine } = await deploy(ingress({ longUploads: true }));
    const { inputs } = engine.find("HelmChartConfig", "traefik", "kube-system");

    expect(inputs.apiVersion).toBe("helm.cattle.io/v1");
    const { ports } = parse(inputs.spec.valuesContent);
    expect(ports.websecure.transport.respondingTimeouts.readTimeout).toBe("30m");
  });

  test("the client's address is believed from the ingress's range only", async () => {
    const conf = gateConf((await deploy(ingress({ trustedProxies: ["10.1.0.0/16"] }))).engine);

    expect(conf.match(/set_real_ip_from .*/g)).toEqual(["set_real_ip_from 10.1.0.0/16;"]);
    expect(gateConf((await deploy(SHAPES["node port, private CA"])).engine)).not.toContain("set_real_ip_from");
  });
});

describe("users", () => {
  test("a password that was given is used, not generated, and secret", async () => {
    const { engine, registry } = await deploy({ ...HOME, registryPassword: "correct horse" });

    expect(await settled(registry.writer.password)).toBe("correct horse");
    expect(await pulumi.isSecret(registry.writer.password)).toBe(true);
    expect(engine.names("RandomPassword")).not.toContain("registry-password-writer");
    expect(passwordOf(engine, "homelab", "correct horse")).toBe(true);
    const inTheClear = engine.resources.map(({ marked }) => JSON.stringify(withoutSecrets(marked)));
    expect(inTheClear.join()).not.toMatch(/correct horse|\$2y\$/);
  });

  test("the pull user before is valid until the next raise; nodes get the new one", async () => {
    const { engine, registry } = await deploy({ ...HOME, registry: { pullUserGeneration: 3 } });
    const htpasswd: string = engine.find("Secret", "registry-users").inputs.stringData.htpasswd;

    expect([...htpasswd.matchAll(/^(.+):/gm)].map((line) => line[1])).toEqual(["homelab", "puller-3", "puller-2"]);
    expect(registry.puller.name).toBe("puller-3");
    expect(passwordOf(engine, "puller-2", "generated-registry-password-puller-2")).toBe(true);
    expect(passwordOf(engine, "puller-2", "generated-registry-password-puller-3")).toBe(false);
  });

  test("only the user who pushes is told to the gate as writer", async () => {
    const conf = gateConf((await deploy({ ...HOME, registryUser: "ci.bot" })).engine);

    expect(conf).toContain(String.raw`map $remote_user $is_writer { default 0; '~^ci\\.bot$' 1; }`);
  });

  test("a second run changes nothing: same salts, same hashes, same checksum", async () => {
    const [first, second] = [await deploy(HOME), await deploy(HOME)].map(({ engine }) => engine.resources);
    const everything = (resources: typeof first) =>
      resources?.map(({ type, name, inputs }) => `${type} ${name} ${JSON.stringify(inputs)}`).sort();

    expect(everything(second)).toEqual(everything(first));
  });

  test("a changed password rolls the pod, and the checksum gives nothing away", async () => {
    const checksum = async (password: string) => {
      const { engine } = await deploy({ ...HOME, registryPassword: password });
      const { template } = engine.find("Deployment", "registry").marked.spec;
      return template.metadata.annotations["homecloud/checksum"];
    };
    const [one, other] = [await checksum("one"), await checksum("other")];

    expect(one).toMatch(/^[0-9a-f]{64}$/);
    expect(other).not.toBe(one);
  });
});

describe("settings of the registry", () => {
  test("data goes with the stack where asked", async () => {
    const { engine } = await deploy(registry({ keepDataOnDestroy: false }));

    expect(engine.resources.filter(({ options }) => options.retainOnDelete)).toEqual([]);
  });

  test("a volume that was kept is asked for in its own size; the quota is the setting's", async () => {
    const { engine } = await deploy(registry({ storage: "50Gi" }), "30Gi");

    expect(engine.find("PersistentVolumeClaim", "registry-data").inputs.spec.resources.requests.storage).toBe("30Gi");
    expect(environment(engine, "quota").LIMIT).toBe(String(50 * 2 ** 30));
  });

  test("pull secrets, and the CA, go to the namespaces that ask", async () => {
    const { engine } = await deploy(registry({ pullSecretNamespaces: ["apps", "ci"] }));

    for (const namespace of ["apps", "ci"]) {
      const { inputs, marked } = engine.find("Secret", "registry-pull", namespace);
      expect(inputs.type).toBe("kubernetes.io/dockerconfigjson");
      expect(isMarkedSecret(marked.stringData)).toBe(true);
      expect(JSON.parse(inputs.stringData[".dockerconfigjson"]).auths["registry.homelab.local"].username).toBe(
        "puller-1",
      );
      const ca = engine.find("ConfigMap", "homecloud-ca", namespace);
      expect(ca.inputs.data).toEqual({ "ca.crt": "CERTIFICATE ca-certificate" });
      // A cluster may have several stacks: `homecloud rotate check` looks at its own.
      for (const { metadata } of [inputs, ca.inputs]) expect(metadata.annotations["homecloud/stack"]).toBe("test");
    }
  });

  test("there is no CA to hand out where the certificate is a public one's", async () => {
    const { engine } = await deploy({
      ...SHAPES["ingress, cluster issuer"],
      registry: { pullSecretNamespaces: ["apps"] },
    });

    expect(engine.find("Secret", "registry-pull", "apps")).toBeDefined();
    expect(engine.names("ConfigMap")).not.toContain("homecloud-ca");
  });

  test("a cluster that announces another registry is left alone", async () => {
    const { engine } = await deploy(registry({ localRegistryHosting: false }));

    expect(engine.names("ConfigMap")).toEqual(["registry-files"]);
  });

  test("the quota follows the settings, and the refusal names a command that works", async () => {
    const { engine } = await deploy(
      registry({ namespace: "images", storage: "10Gi", reserve: "512Mi", keepFree: "3Gi" }),
    );
    const env = environment(engine, "quota");

    expect(env.LIMIT).toBe(String(10 * 2 ** 30));
    expect(env.RESERVE).toBe(String(512 * 2 ** 20));
    expect(env.KEEP_FREE).toBe(String(3 * 2 ** 30));
    expect(env.REMEDY).toMatch(/^kubectl -n images exec deploy\/registry -c registry -- sh .*\/collect-garbage\.sh$/);
  });

  test("everything of the registry's own is in its namespace", async () => {
    const { engine } = await deploy(registry({ namespace: "images" }));
    const namespaces = engine.resources.map(({ inputs }) => inputs.metadata?.namespace).filter(Boolean);

    expect(new Set(namespaces)).toEqual(new Set(["images", "kube-public"]));
  });

  test("nodes, images and limits are what the settings say", async () => {
    const { engine } = await deploy(
      registry({
        storageClass: "longhorn",
        nodeSelector: { disk: "large" },
        tolerations: [{ key: "nas", operator: "Exists", effect: "NoSchedule" }],
        images: { registry: "mirror.lan/registry:3.1.2", nginx: "mirror.lan/nginx:1.30" },
        resources: { gate: { limits: { cpu: "4", memory: "256Mi" } } },
      }),
    );
    const pod = podOf(engine);

    expect(engine.find("PersistentVolumeClaim", "registry-data").inputs.spec.storageClassName).toBe("longhorn");
    expect(pod.nodeSelector).toEqual({ disk: "large" });
    expect(pod.tolerations).toEqual([{ key: "nas", operator: "Exists", effect: "NoSchedule" }]);
    expect(pod.containers.map(({ image }: { image: string }) => image)).toEqual([
      "mirror.lan/registry:3.1.2",
      "mirror.lan/nginx:1.30",
      "mirror.lan/nginx:1.30",
      "mirror.lan/nginx:1.30",
    ]);
    expect(container(engine, "gate").resources.limits).toEqual({ cpu: "4", memory: "256Mi" });
  });
});

describe("the pod", () => {
  test("only the gate can be reached, and only it sees the certificate; only the login check sees the users", async () => {
    const { engine } = await deploy(SHAPES["node port, private CA"]);
    const pod = podOf(engine);

    expect(pod.containers.map(({ name }: { name: string }) => name)).toEqual(["registry", "gate", "login", "quota"]);
    for (const name of ["registry", "login", "quota"]) {
      expect(container(engine, name).ports).toBeUndefined();
      expect(mounts(engine, name)).not.toContain("certificate");
    }
    for (const name of ["registry", "gate", "quota"]) expect(mounts(engine, name)).not.toContain("users");
    expect(mounts(engine, "login")).toContain("users");
  });

  test("the registry sends no traces, and writes to the volume that the claim holds", async () => {
    const { engine } = await deploy(HOME);

    expect(environment(engine, "registry").OTEL_TRACES_EXPORTER).toBe("none");
    expect(podOf(engine).volumes[0]).toEqual({
      name: "data",
      persistentVolumeClaim: { claimName: "registry-data" },
    });
    expect(mounts(engine, "registry")).toContain("data");
  });

  test("every mounted volume exists, and every volume is mounted", async () => {
    for (const shape of [SHAPES["node port, private CA"], SHAPES["node port, no TLS"]]) {
      const { engine } = await deploy(shape);
      const pod = podOf(engine);
      const mounted = new Set(pod.containers.flatMap(({ name }: { name: string }) => mounts(engine, name)));

      expect(mounted).toEqual(new Set(pod.volumes.map(({ name }: { name: string }) => name)));
    }
  });
});

const gateConf = (engine: Engine): string => engine.find("ConfigMap", "registry-files").inputs.data["gate.conf"];

const podOf = (engine: Engine) => engine.find("Deployment", "registry").inputs.spec.template.spec;

const container = (engine: Engine, name: string) =>
  podOf(engine).containers.find((candidate: { name: string }) => candidate.name === name);

const mounts = (engine: Engine, name: string): string[] =>
  container(engine, name).volumeMounts.map((mount: { name: string }) => mount.name);

const environment = (engine: Engine, name: string): Record<string, string> =>
  Object.fromEntries(
    container(engine, name).env.map((entry: { name: string; value: string }) => [entry.name, entry.value]),
  );

/** Whether this user's line in htpasswd verifies this password. */
function passwordOf(engine: Engine, user: string, password: string): boolean {
  const htpasswd: string = engine.find("Secret", "registry-users").inputs.stringData.htpasswd;
  const hash = new RegExp(`^${user}:(.+)$`, "m").exec(htpasswd)?.[1] ?? "";
  return compareSync(password, hash.replace("$2y$", "$2b$"));
}
