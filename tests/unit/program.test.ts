import * as pulumi from "@pulumi/pulumi";
import { beforeEach, describe, expect, test, vi } from "vitest";
import type { ClusterFacts } from "../../cluster/check.ts";
import { checksumOfCa } from "../../components/ca-checksum.ts";
import { NODES_CA, NODES_USER, TRUSTED_NODES } from "../../components/known-names.ts";
import { deploy, type Outputs } from "../../program.ts";
import { makeCaCertificate, makeKey } from "../../render/certificates.ts";
import { Engine, settled } from "./mocks.ts";
import { ED25519, NO_LOCALSTACK, NO_UI, NODE_KEY, SHAPES, type StackConfig, settingsOf } from "./stacks.ts";

vi.mock(import("bcryptjs"), async (original) => (await import("./bcrypt-once.ts")).once(await original(), "04"));

const warn = vi.spyOn(pulumi.log, "warn").mockResolvedValue();

beforeEach(() => {
  warn.mockClear();
});

/** Runs the program for a stack with this configuration. */
async function run(config: StackConfig, found?: ClusterFacts): Promise<{ engine: Engine; outputs: Outputs }> {
  const engine = await Engine.start();
  const outputs = deploy(settingsOf(config), found);
  await pulumi.runtime.disconnect(); // every resource is registered once this returns
  return { engine, outputs };
}

const HOME = SHAPES["ingress, private CA"];
const withAddress = { ...HOME, access: { mode: "ingress", address: "192.168.1.240" } };

describe("outputs", () => {
  test("say where the registry is and who logs in", async () => {
    const { outputs } = await run(HOME);

    expect(outputs).toMatchObject({
      registryUrl: "https://registry.homelab.local",
      registryHost: "registry.homelab.local",
      registryUser: "homelab",
      registryPullUser: "puller-1",
    });
    expect(await settled(outputs.registryNamespace)).toBe("registry");
    expect(await settled(outputs.registryPullPassword)).toBe("generated-registry-password-puller-1");
  });

  test.each([HOME, { ...HOME, registryPassword: "correct horse" }])("passwords are secret: %j", async (config) => {
    const { outputs } = await run(config);

    expect(await pulumi.isSecret(outputs.registryPassword)).toBe(true);
    expect(await pulumi.isSecret(outputs.registryPullPassword)).toBe(true);
    expect(await pulumi.isSecret(outputs.registryDockerConfigJson)).toBe(true);
  });

  test("the private CA can be read by everybody, and SDKs are told where it is", async () => {
    const { outputs } = await run(HOME);

    const certificate = outputs.caCertificate as pulumi.Output<string>;
    expect(await settled(certificate)).toBe("CERTIFICATE homecloud-ca-certificate");
    expect(await pulumi.isSecret(certificate)).toBe(false);
    expect(Object.keys(outputs.caEnvironment ?? {})).toEqual(["AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"]);
  });

  test.each(["ingress, cluster issuer", "node port, no TLS"] as const)("there is no CA with %s", async (shape) => {
    const { outputs, engine } = await run(SHAPES[shape]);

    expect(outputs.caCertificate).toBeUndefined();
    expect(outputs.caEnvironment).toBeUndefined();
    expect(engine.all("PrivateCa")).toEqual([]);
  });

  test("the home network's DNS records are told where the ingress's address is known", async () => {
    const { outputs } = await run(withAddress);
    const names = ["registry", "registry-ui", "localstack", "*.localstack"].map((name) => `${name}.homelab.local`);

    expect(outputs.dnsRecords).toEqual(names.map((name) => ({ name, type: "A", address: "192.168.1.240" })));
    expect(outputs.dnsmasqLines).toEqual([
      "address=/localstack.homelab.local/192.168.1.240",
      "local=/localstack.homelab.local/",
    ]);
    for (const config of [HOME, SHAPES["node port, no TLS"]]) {
      const { dnsRecords, dnsmasqLines } = (await run(config)).outputs;
      expect([dnsRecords, dnsmasqLines]).toEqual([[], []]);
    }
  });

  test("say where LocalStack is, and what its clients read", async () => {
    const { outputs } = await run(HOME);

    expect(outputs).toMatchObject({
      localstackEndpoint: "https://localstack.homelab.local",
      localstackRegion: "us-east-1",
      awsEnvironment: { AWS_ENDPOINT_URL: "https://localstack.homelab.local", AWS_REGION: "us-east-1" },
    });
    expect(await settled(outputs.localstackNamespace as pulumi.Output<string>)).toBe("localstack");
    expect(outputs.awsEnvFile).toContain("AWS_ENDPOINT_URL_S3=https://s3.localstack.homelab.local\n");
  });

  test("tell nobody LocalStack's token", async () => {
    const token = "ls-ThisIsTheToken";
    const { outputs } = await run({ ...HOME, localstack: { edition: "pro" }, localstackAuthToken: token });
    const values = Object.values(outputs).map((value) =>
      pulumi.Output.isInstance(value) ? settled(value as pulumi.Output<unknown>) : value,
    );

    expect(JSON.stringify(await Promise.all(values))).not.toContain(token);
  });
});

describe("names inside the cluster", () => {
  test("pods resolve the registry and LocalStack through the ingress controller's Service", async () => {
    const { engine } = await run({
      ...HOME,
      access: { mode: "ingress", service: "rke2-ingress", namespace: "ingress" },
    });

    expect(engine.find("ConfigMapPatch", "coredns-custom").inputs.data["homecloud-test.override"]).toBe(
      "rewrite name exact registry.homelab.local rke2-ingress.ingress.svc.cluster.local\n" +
        "rewrite name exact registry-ui.homelab.local rke2-ingress.ingress.svc.cluster.local\n" +
        "rewrite name exact localstack.homelab.local rke2-ingress.ingress.svc.cluster.local\n" +
        "rewrite name regex ^.+\\.localstack\\.homelab\\.local\\.$ rke2-ingress.ingress.svc.cluster.local answer auto\n",
    );
  });

  test("on ports of the nodes LocalStack's name leads to its own Service, whose port is the same", async () => {
    const { engine } = await run({ access: { mode: "node-port", hosts: ["nas.lan"] }, localstack: { port: 31000 } });

    expect(engine.find("ConfigMapPatch", "coredns-custom").inputs.data["homecloud-test.override"]).toBe(
      "rewrite name exact nas.lan localstack.localstack.svc.cluster.local\n" +
        "rewrite name regex ^.+\\.nas\\.lan\\.$ localstack.localstack.svc.cluster.local answer auto\n",
    );
    expect(engine.find("Service", "localstack").inputs.spec.ports[0].port).toBe(31000);
  });

  test.each<[string, StackConfig]>([
    ["where it is not wanted", { ...HOME, clusterNames: "none" }],
    ["with an address of the nodes", SHAPES["node port, private CA"]],
    ["with a name that is every pod's own", { access: { mode: "node-port", hosts: ["aws.localhost"] } }],
    [
      "without LocalStack, on a port of the nodes",
      { access: { mode: "node-port", hosts: ["a.lan"] }, ...NO_LOCALSTACK },
    ],
  ])("CoreDNS is left alone %s", async (_, config) => {
    expect((await run(config)).engine.all("ConfigMapPatch")).toEqual([]);
  });
});

describe("LocalStack", () => {
  test("is not there where it is off, and nothing is told of it", async () => {
    const { engine, outputs } = await run({ ...withAddress, ...NO_LOCALSTACK });

    expect(engine.resources.filter(({ type, name }) => /localstack/i.test(type + name))).toEqual([]);
    expect(Object.entries(outputs).filter(([name]) => /localstack|^aws/i.test(name))).toEqual(
      ["localstackEndpoint", "localstackRegion", "localstackNamespace", "awsEnvironment", "awsEnvFile"].map((name) => [
        name,
        undefined,
      ]),
    );
    expect(outputs.dnsRecords.map(({ name }) => name)).toEqual(["registry.homelab.local", "registry-ui.homelab.local"]);
    expect(engine.find("ConfigMapPatch", "coredns-custom").inputs.data["homecloud-test.override"]).not.toContain(
      "localstack",
    );
  });

  test("has its volume back in the size that it was made in, the registry too", async () => {
    const { engine } = await run(HOME, { claimSize: "31Gi", localstackClaimSize: "21Gi" });
    const sizeOf = (name: string) => engine.find("PersistentVolumeClaim", name).inputs.spec.resources.requests.storage;

    expect(sizeOf("registry-data")).toBe("31Gi");
    expect(sizeOf("localstack-data")).toBe("21Gi");
  });

  test("a namespace has the CA once, and keeps it whoever asks for it: to change hands would delete it", async () => {
    const ofApps = async (config: StackConfig) => {
      const { engine } = await run({ ...HOME, ...config });
      const { type, name, options, inputs } = engine.find("ConfigMap", "homecloud-ca", "apps");
      expect(inputs.data).toEqual({ "ca.crt": "CERTIFICATE homecloud-ca-certificate" });
      return `${options.parent} ${type} ${name}`;
    };
    const registry = { pullSecretNamespaces: ["apps"] };
    const localstack = { clientNamespaces: ["apps"] };
    const byRegistry = await ofApps({ registry });

    expect(await ofApps({ registry, localstack })).toBe(byRegistry);
    expect(await ofApps({ localstack })).toBe(byRegistry);
  });

  test("there is no CA to hand out where the certificate is a public one's", async () => {
    const { engine } = await run({ ...SHAPES["ingress, cluster issuer"], localstack: { clientNamespaces: ["apps"] } });

    expect(engine.find("ConfigMap", "localstack-aws", "apps").inputs.data.AWS_ENDPOINT_URL).toBe(
      "https://localstack.home.example.net",
    );
    expect(engine.names("ConfigMap")).not.toContain("homecloud-ca");
  });

  test("what it lacks in security is said on every run", async () => {
    await run(HOME);

    expect(warn.mock.calls.join()).toContain("LocalStack has no login, and Lambda runs code for whoever reaches it");
  });
});

describe("the web page", () => {
  test("has an address", async () => {
    expect((await run(HOME)).outputs.registryUiUrl).toBe("https://registry-ui.homelab.local");
  });

  // What is said of a component alone is not in the state of its parts, which are what the engine makes and deletes.
  test("its pod comes after the registry's Service, whose name its gate looks up once, at its start", async () => {
    const { engine } = await run(HOME);

    expect(engine.find("Deployment", "registry-ui").options.after).toContain("kubernetes:core/v1:Service registry");
    expect(engine.find("Service", "registry").options.after).toContain("kubernetes:apps/v1:Deployment registry");
  });

  test("is not there where it is off, and nobody is let in or told of it", async () => {
    const { engine, outputs } = await run({ ...withAddress, ...NO_UI });

    expect(engine.resources.filter(({ type, name }) => /registry-?ui/i.test(type + name))).toEqual([]);
    expect(outputs.registryUiUrl).toBeUndefined();
    expect(outputs.dnsRecords.map(({ name }) => name)).not.toContain("registry-ui.homelab.local");
    expect(JSON.stringify(engine.find("ConfigMapPatch", "coredns-custom").inputs)).not.toContain("registry-ui");
    expect(JSON.stringify(engine.find("NetworkPolicy", "registry", "registry").inputs)).not.toContain("registry-ui");
  });
});

describe("Pi-hole", () => {
  test("gets the records where its address is given", async () => {
    const { engine } = await run({ ...withAddress, pihole: { url: "http://192.168.1.2" }, piholePassword: "hunter2" });

    expect(engine.names("Command")).toEqual([
      "pihole-localstack.homelab.local",
      "pihole-registry-ui.homelab.local",
      "pihole-registry.homelab.local",
      "pihole-wildcard.localstack.homelab.local",
    ]);
  });

  test("is not looked for otherwise", async () => {
    expect((await run(withAddress)).engine.all("Command")).toEqual([]);
  });
});

describe("providers", () => {
  test("follow the kubeconfig and context of the settings", async () => {
    const { engine } = await run({ ...HOME, kubeconfig: "/home/me/kubeconfig", kubeContext: "homelab" });

    for (const name of ["cluster", "cluster-data"])
      expect(engine.find("kubernetes", name).inputs).toMatchObject({
        kubeconfig: "/home/me/kubeconfig",
        context: "homelab",
      });
  });

  test("leave both to the environment where they are not set", async () => {
    const { engine } = await run(HOME);

    expect(engine.find("kubernetes", "cluster").inputs).not.toHaveProperty("context");
  });

  test("only what outlives a destroy may take over objects that exist", async () => {
    const { engine } = await run(HOME);
    const byData = engine.resources.filter(({ options }) => options.provider === "cluster-data");

    expect(engine.find("kubernetes", "cluster").inputs).not.toHaveProperty("upsertExistingObjects");
    expect(byData.map(({ name }) => name).sort()).toEqual([
      "localstack",
      "localstack-data",
      "registry",
      "registry-data",
    ]);
  });

  test("change Secrets and ConfigMaps in place: to replace what has a fixed name deletes what was just made", async () => {
    const { engine } = await run(HOME);

    for (const name of ["cluster", "cluster-data"])
      expect(engine.find("kubernetes", name).inputs).toMatchObject({
        enableSecretMutable: "true",
        enableConfigMapMutable: "true",
      });
  });

  test("every object goes to the cluster that the settings name", async () => {
    const { engine } = await run(withAddress);

    for (const { type, options } of engine.resources.filter(({ type }) => type.startsWith("kubernetes:")))
      expect(options.provider, type).toMatch(/^cluster(-data)?$/);
  });
});

describe("nodes", () => {
  const node = { name: "k3s-1", host: "192.168.1.11", hostKey: ED25519 };
  const withNode = { ...withAddress, nodeSshPrivateKey: NODE_KEY, nodeTrust: { nodes: [node] } };

  test("none is touched unless one is named", async () => {
    const { engine, outputs } = await run(withAddress);

    expect(engine.all("Command")).toEqual([]);
    expect(outputs.trustedNodes).toBeUndefined();
  });

  test("come after everything else, and go before it: only what tells of them comes later", async () => {
    const pihole = { pihole: { url: "http://192.168.1.2" }, piholePassword: "app password" };
    const { engine } = await run({ ...withNode, ...pihole });

    const before = engine.find("Command", "node-trust-k3s-1").options.after;
    const objects = engine.resources.filter(
      ({ type, name }) => type.startsWith("kubernetes:") && name !== TRUSTED_NODES,
    );
    expect(objects.length).toBeGreaterThan(30);
    expect(before).toEqual(expect.arrayContaining(objects.map(({ type, name }) => `${type} ${name}`)));
    expect(before).toContain("command:local:Command pihole-registry.homelab.local");
    const later = engine.resources.filter(({ options }) => options.dependsOn.includes("node-trust-k3s-1"));
    expect(later.map(({ name }) => name)).toEqual([TRUSTED_NODES]);
  });

  test("what is told of them is when each was proven, by name, as which user, and with which CA", async () => {
    const { engine } = await run({ ...withNode, registry: { pullUserGeneration: 2 } });

    const { inputs } = engine.find("ConfigMap", TRUSTED_NODES, "registry");
    expect(inputs.data).toEqual({ "k3s-1": "never" });
    expect(inputs.metadata.annotations).toEqual({
      [NODES_USER]: "puller-2",
      [NODES_CA]: checksumOfCa("CERTIFICATE homecloud-ca-certificate\n"),
    });
  });

  test("get the user who only pulls, and the stack's CA", async () => {
    const { engine, outputs } = await run(withNode);

    const { stdin } = engine.find("Command", "node-trust-k3s-1").inputs;
    expect(stdin).toContain("user='puller-1'");
    expect(stdin).toContain("ca='CERTIFICATE homecloud-ca-certificate'");
    expect(stdin).not.toContain("generated-registry-password-writer");
    expect(await settled(outputs.trustedNodes as pulumi.Output<unknown>)).toEqual([
      { name: "k3s-1", host: "192.168.1.11", trusts: ["registry.homelab.local"], provenAt: undefined },
    ]);
  });

  test("with an issuer's private CA get the one that is set", async () => {
    const tls = { mode: "cluster-issuer", issuer: "home-ca", acme: false };
    const names = { commonName: "home CA", dnsNames: [], ipAddresses: [] };
    const caCertificate = await makeCaCertificate({ ...names, keyPem: await makeKey(), validityHours: 24 });
    const { engine } = await run({ ...withNode, tls, nodeTrust: { nodes: [node], caCertificate } });

    expect(engine.find("Command", "node-trust-k3s-1").inputs.stdin).toContain(`ca='${caCertificate.trimEnd()}'`);
  });

  test("what is legal, but probably not meant, is a warning", async () => {
    await run({ ...withNode, nodeTrust: { nodes: [node], mirrors: { "docker.io": { endpoint: [] } } } });

    expect(warn).toHaveBeenCalledWith(expect.stringContaining("docker.io"));
  });
});
