import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LocalStackStack } from "../../components/localstack-stack.ts";
import { PrivateCa } from "../../components/private-ca.ts";
import { Engine, isMarkedSecret, type Recorded, settled, withoutSecrets } from "./mocks.ts";
import { restrictedProblems } from "./pod-security.ts";
import { SHAPES, type Shape, type StackConfig, settingsOf } from "./stacks.ts";

interface Deployed {
  engine: Engine;
  localstack: LocalStackStack;
}

/** The component as a stack with this configuration would make it, every resource registered. */
async function deploy(config: StackConfig, claimSize?: string): Promise<Deployed> {
  const engine = await Engine.start();
  const { localstack, access, tls } = settingsOf(config);
  if (!localstack) throw new Error("there is no LocalStack");
  const dataProvider = new k8s.Provider("cluster-data", { upsertExistingObjects: true });
  const ca =
    tls.mode === "private-ca" ? new PrivateCa("ca", { commonName: "test CA", generation: tls.generation }) : undefined;
  const args = { localstack, access, tls, ca, dataProvider, claimSize };
  const component = new LocalStackStack("localstack", args);
  await pulumi.runtime.disconnect(); // every resource is registered once this returns
  return { engine, localstack: component };
}

const HOME = SHAPES["ingress, private CA"];
const NODE_PORT = SHAPES["node port, private CA"];
const TOKEN = "ls-ThisIsTheToken";
const ingress = (access: StackConfig) => ({ ...HOME, access: { mode: "ingress", ...access } });
const localstack = (settings: StackConfig, others: StackConfig = HOME) => ({ ...others, localstack: settings });

const LAMBDAS = {
  dind: { mode: "dind" },
  "host-docker": { mode: "host-docker", group: 999, socket: "/run/user/docker.sock" },
  none: { mode: "none" },
};
type LambdaMode = keyof typeof LAMBDAS;

const EDITIONS = {
  community: {},
  pro: { localstackAuthToken: TOKEN },
  ephemeral: {},
};
type Edition = keyof typeof EDITIONS;

/** A stack of this shape with this Lambda and edition. */
const combined = (shape: Shape, mode: LambdaMode, edition: Edition): StackConfig => ({
  ...SHAPES[shape],
  ...EDITIONS[edition],
  localstack: { lambda: LAMBDAS[mode], edition },
});

const combinations = (Object.keys(SHAPES) as Shape[]).flatMap((shape) =>
  (Object.keys(LAMBDAS) as LambdaMode[]).flatMap((mode) =>
    (Object.keys(EDITIONS) as Edition[]).map((edition): [Shape, LambdaMode, Edition] => [shape, mode, edition]),
  ),
);

describe.each(combinations)("%s, Lambda by %s, %s", (shape, mode, edition) => {
  let engine: Engine;
  let component: LocalStackStack;

  beforeAll(async () => {
    ({ engine, localstack: component } = await deploy(combined(shape, mode, edition)));
  });

  test("the claim has a fixed name, is kept on destroy, taken back, and its size left alone", () => {
    const { inputs, options } = engine.find("PersistentVolumeClaim", "localstack-data", "localstack");

    expect(inputs.spec).toEqual({
      accessModes: ["ReadWriteOnce"],
      storageClassName: "local-path",
      resources: { requests: { storage: "20Gi" } },
    });
    expect(inputs.metadata.annotations).toEqual({ "pulumi.com/skipAwait": "true" });
    expect(options).toMatchObject({ retainOnDelete: true, ignoreChanges: ["spec"], provider: "cluster-data" });
  });

  test("nothing but the data and the namespace around it outlives a destroy", () => {
    const kept = engine.resources.filter(({ options }) => options.retainOnDelete);

    expect(kept.map(({ name }) => name).sort()).toEqual(["localstack", "localstack-data"]);
    expect(engine.find("Namespace", "localstack").options.provider).toBe("cluster-data");
  });

  test("only a pod in which nothing is privileged is in a namespace that refuses others", () => {
    const { labels } = engine.find("Namespace", "localstack").inputs.metadata;
    const problems = restrictedProblems(podOf(engine));

    expect(labels["pod-security.kubernetes.io/enforce"]).toBe(mode === "none" ? "restricted" : "privileged");
    const expected = {
      dind: ["docker: privileged", "docker: escalation", "docker: root", "docker: capabilities"],
      "host-docker": ["volume docker: hostPath"],
      none: [],
    };
    expect(problems).toEqual(expected[mode]);
  });

  test("every container but Docker can do nothing beyond its work; only LocalStack's own root can change", () => {
    for (const { name, securityContext } of containersOf(engine).filter(({ name }) => name !== "docker")) {
      expect(securityContext.privileged, name).toBeUndefined();
      expect(securityContext.allowPrivilegeEscalation, name).toBe(false);
      expect(securityContext.capabilities, name).toEqual({ drop: ["ALL"] });
      expect(securityContext.readOnlyRootFilesystem, name).toBe(name === "localstack" ? undefined : true);
    }
  });

  test("the pod has no token of the cluster's, and is told of no other Service", () => {
    const pod = podOf(engine);

    expect(pod.automountServiceAccountToken).toBe(false);
    expect(pod.enableServiceLinks).toBe(false);
    expect(pod).not.toHaveProperty("serviceAccountName");
  });

  test("Docker is there before LocalStack and after it; state is put right at each start of LocalStack's", () => {
    const { initContainers = [], containers } = podOf(engine);
    const command = containers[0].command.join(" ");

    expect(command).toMatch(/ python3 \S+\/keep\.py mend; exec docker-entrypoint\.sh$/);
    expect(namesOf(initContainers)).toEqual(mode === "dind" ? ["docker"] : []);
    expect(namesOf(containers)).toEqual(["localstack", "gate", "uploads", "watch"]);
    for (const { name, restartPolicy, startupProbe } of initContainers) {
      expect(restartPolicy, name).toBe(name === "docker" ? "Always" : undefined);
      expect(startupProbe?.exec.command.slice(-1), name).toEqual(
        name === "docker" ? ["/run/homecloud/state/lambda-images.used"] : undefined,
      );
    }
  });

  test("every mounted volume exists, every volume is mounted, and none in the same place twice", () => {
    const containers = containersOf(engine);
    const mounted = new Set(containers.flatMap((container) => namesOf(container.volumeMounts)));

    expect(mounted).toEqual(new Set(namesOf(podOf(engine).volumes)));
    for (const { name, volumeMounts } of containers) {
      const paths = volumeMounts.map(({ mountPath }: { mountPath: string }) => mountPath);
      expect(new Set(paths).size, name).toBe(paths.length);
    }
  });

  test("what the pod mounts and reads is made with it, and is there before it", () => {
    const { options } = engine.find("Deployment", "localstack", "localstack");
    const wanted = referencesOf(engine);

    expect(wanted).toEqual(
      expect.arrayContaining([
        ["PersistentVolumeClaim", "localstack-data"],
        ["ConfigMap", "localstack-files"],
      ]),
    );
    for (const [kind, name] of wanted) {
      const { name: logicalName } = engine.find(kind, name, "localstack");
      expect(options.dependsOn, `${kind} ${name}`).toContain(logicalName);
    }
    expect(options.dependsOn).toEqual(expect.arrayContaining(["localstack-deny-all", "localstack-localstack"]));
  });

  test("every file that a container starts, or is told of, is among those that it mounts", () => {
    const files = Object.keys(engine.find("ConfigMap", "localstack-files", "localstack").inputs.data);

    for (const container of containersOf(engine)) {
      const told = JSON.stringify([container.command, container.env]).matchAll(/\/etc\/homecloud\/([\w.-]+)/g);
      const named = [...told].map((match) => match[1]);
      if (container.name !== "localstack") expect(named.length, container.name).toBeGreaterThan(0);
      for (const name of named) expect(files).toContain(name);
      if (named.length > 0) expect(namesOf(container.volumeMounts), container.name).toContain("files");
    }
  });

  test("every variable that a script reads is given to it, and none that it does not know", () => {
    const { data } = engine.find("ConfigMap", "localstack-files", "localstack").inputs;
    const started = containersOf(engine).flatMap(({ name, command = [] }): [string, string][] => {
      const file = /\/etc\/homecloud\/([\w-]+\.(sh|py))/.exec(command.join(" "))?.[1];
      return file ? [[name, file]] : [];
    });

    expect(started.map(([name]) => name)).toEqual(expect.arrayContaining(["uploads", "watch"]));
    for (const [name, file] of started) {
      // What stands before the command is for it alone: LocalStack takes its whole environment for settings.
      const inCommand = [
        ...containersOf(engine)
          .find((one) => one.name === name)
          .command.join(" ")
          .matchAll(/\b([A-Z_]+)=/g),
      ];
      const given =
        inCommand.length > 0 ? inCommand.map(([, key = ""]) => key) : Object.keys(environment(engine, name));
      expect(given, file).toEqual(expect.arrayContaining(variablesOf(data[file])));
      for (const variable of given) expect(data[file], file).toMatch(new RegExp(`\\b${variable}\\b`));
    }
  });

  test("LocalStack's URLs are those of the clients", () => {
    const env = environment(engine, "localstack");
    const { USE_SSL, LOCALSTACK_HOST } = env;

    expect(env.SQS_ENDPOINT_STRATEGY).toBe("path");
    expect(new URL(`${USE_SSL === "1" ? "https" : "http"}://${LOCALSTACK_HOST}`).origin).toBe(component.endpoint);
    expect(component.awsEnvironment.AWS_ENDPOINT_URL).toBe(component.endpoint);
    expect(component.region).toBe("us-east-1");
  });

  test("what is watched is what runs", () => {
    expect(environment(engine, "watch").SERVICES).toBe(environment(engine, "localstack").SERVICES);
    expect(environment(engine, "localstack").SERVICES).toMatch(/^s3,sqs,sns,dynamodb,lambda,iam,/);
  });

  test("data is saved in the edition's own way, to the volume", () => {
    const env = environment(engine, "localstack");
    const onVolume = mountsOf(engine, "localstack").filter(({ name }) => name === "data");

    expect(env.PERSISTENCE).toBe(edition === "ephemeral" ? undefined : "1");
    expect(env.ACTIVATE_PRO).toBe(edition === "pro" ? "1" : undefined);
    expect(env.PERSIST_FREQUENCY).toBe(edition === "community" ? "5" : undefined);
    expect(environment(engine, "watch").KEEP).toBe(edition === "community" ? "1" : "0");
    expect(onVolume).toEqual([
      { name: "data", mountPath: "/volume" },
      { name: "data", mountPath: "/var/lib/localstack", subPath: edition === "pro" ? "localstack-pro" : "localstack" },
      { name: "data", mountPath: "/tmp", subPath: "scratch" },
    ]);
  });

  test("the token is in a Secret of pro's, and LocalStack reads it from there; nobody else does", () => {
    const readers = containersOf(engine).filter(({ env = [] }) => namesOf(env).includes("LOCALSTACK_AUTH_TOKEN"));

    expect(namesOf(readers)).toEqual(edition === "pro" ? ["localstack"] : []);
    expect(engine.names("Secret").includes("localstack-token")).toBe(edition === "pro");
    if (edition !== "pro") return;
    expect(readers[0].env).toContainEqual({
      name: "LOCALSTACK_AUTH_TOKEN",
      valueFrom: { secretKeyRef: { name: "localstack-token", key: "token" } },
    });
    expect(engine.find("Secret", "localstack-token", "localstack").inputs.stringData).toEqual({ token: TOKEN });
  });

  test("no secret is in the clear: neither in an object nor in an output", () => {
    const inTheClear = engine.resources.map(({ marked }) => JSON.stringify(withoutSecrets(marked))).join();

    for (const { marked } of engine.all("Secret")) expect(isMarkedSecret(marked.stringData)).toBe(true);
    expect(inTheClear).not.toContain(TOKEN);
    expect(inTheClear).not.toMatch(/"PRIVATE KEY localstack/);
    const { endpoint, region, awsEnvironment } = component;
    expect(JSON.stringify({ endpoint, region, awsEnvironment })).not.toContain(TOKEN);
  });

  test("Docker's socket is shared with nobody but LocalStack", () => {
    const withSocket = containersOf(engine).filter(({ volumeMounts }) => namesOf(volumeMounts).includes("docker"));
    const expected = { dind: ["docker", "localstack"], "host-docker": ["localstack"], none: [] };

    expect(namesOf(withSocket)).toEqual(expected[mode]);
    expect(environment(engine, "localstack").DOCKER_HOST).toBe(
      mode === "none" ? undefined : "unix:///run/homecloud-docker/docker.sock",
    );
  });

  test("functions trust the endpoint where the CA is the stack's own and they run in the pod", () => {
    const isTold = mode === "dind" && shape.includes("private CA");

    expect(engine.names("ConfigMap").includes("homecloud-ca")).toBe(isTold);
    const { LAMBDA_DOCKER_FLAGS = "" } = environment(engine, "localstack");
    expect(LAMBDA_DOCKER_FLAGS.includes("/etc/homecloud-ca/ca.crt")).toBe(isTold);
    expect(LAMBDA_DOCKER_FLAGS.includes("AWS_ENDPOINT_URL=http://172.17.0.1:4566")).toBe(mode === "dind");
    if (!isTold) return;
    expect(engine.find("ConfigMap", "homecloud-ca", "localstack").inputs.data).toEqual({
      "ca.crt": "CERTIFICATE ca-certificate",
    });
    expect(mountsOf(engine, "docker")).toContainEqual({ name: "ca", mountPath: "/etc/homecloud-ca", readOnly: true });
  });

  test("nothing in the namespace is reached, and nothing reaches out, unless a policy says so", () => {
    const { inputs } = engine.find("NetworkPolicy", "deny-all", "localstack");

    expect(inputs.spec).toEqual({ podSelector: {}, policyTypes: ["Ingress", "Egress"] });
  });

  test("the gate is the only way in, its metrics are nobody's, and LocalStack may reach out", () => {
    const { spec } = engine.find("NetworkPolicy", "localstack", "localstack").inputs;

    expect(spec.policyTypes).toEqual(["Ingress", "Egress"]);
    expect(spec.egress).toEqual([{}]);
    expect(spec.ingress).toHaveLength(1);
    expect(spec.ingress[0].ports).toEqual([{ protocol: "TCP", port: 8080 }]);
    const ports = containersOf(engine).filter(({ ports }) => ports);
    expect(namesOf(ports)).toEqual(["gate"]);
    expect(ports[0].ports).toEqual([
      { name: "localstack", containerPort: 8080 },
      { name: "metrics", containerPort: 9090 },
    ]);
  });

  test("two pods never write at once, and the selector finds the pod", () => {
    const { replicas, strategy, selector, template } = engine.find("Deployment", "localstack").inputs.spec;

    expect(replicas).toBe(1);
    expect(strategy).toEqual({ type: "Recreate" });
    expect(template.metadata.labels).toMatchObject(selector.matchLabels);
    expect(Object.keys(selector.matchLabels)).toEqual(["app.kubernetes.io/name", "app.kubernetes.io/part-of"]);
    for (const service of engine.all("Service")) expect(service.inputs.spec.selector).toEqual(selector.matchLabels);
  });

  test("nothing is asked for that the API server drops: every preview would show a change", () => {
    const objects = engine.resources.filter(({ type }) => type.startsWith("kubernetes:"));
    const empty = objects.flatMap(({ type, inputs }) =>
      emptyIn(inputs).map((path) => `${type.split(":").at(-1)}${path}`),
    );

    // Both mean something: every pod, and every address.
    expect(empty.sort()).toEqual(["NetworkPolicy.spec.egress.0", "NetworkPolicy.spec.podSelector"]);
  });

  test("everything is in its namespace and belongs to the component", () => {
    const own = engine.resources.filter(({ type, name }) => type.startsWith("kubernetes:") && name !== "cluster-data");

    for (const { options, inputs, name } of own) {
      expect(options.parent, name).toBe("localstack");
      expect(inputs.metadata.namespace ?? inputs.metadata.name, name).toBe("localstack");
    }
  });
});

describe("the way in", () => {
  test.each<[Shape, string, number]>([
    ["ingress, private CA", "https://localstack.homelab.local", 80],
    ["ingress, cluster issuer", "https://localstack.home.example.net", 80],
    ["node port, private CA", "https://127.0.0.1:30566", 30566],
    ["node port, no TLS", "http://localhost:30566", 30566],
  ])("%s: %s, port %i inside", async (shape, endpoint, port) => {
    const { engine, localstack } = await deploy(SHAPES[shape]);

    expect(localstack.endpoint).toBe(endpoint);
    expect(await settled(localstack.namespace)).toBe("localstack");
    const { spec } = engine.find("Service", "localstack", "localstack").inputs;
    expect(spec.ports).toEqual([
      { name: "localstack", port, targetPort: "localstack" },
      { name: "metrics", port: 9090, targetPort: "metrics" },
    ]);
    expect(spec.type).toBeUndefined();
  });

  test("with an ingress there is no node port, and the gate speaks plain HTTP to the ingress alone", async () => {
    const { engine } = await deploy(HOME);

    expect(engine.names("Service")).toEqual(["localstack"]);
    expect(gateConf(engine)).not.toContain(" ssl;");
    expect(namesOf(mountsOf(engine, "gate"))).not.toContain("certificate");
    expect(engine.find("NetworkPolicy", "localstack").inputs.spec.ingress[0].from).toEqual([
      {
        namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "kube-system" } },
        podSelector: { matchLabels: { "app.kubernetes.io/name": "traefik" } },
      },
    ]);
  });

  test("on a port of the nodes the gate has the certificate, and only it", async () => {
    const { engine } = await deploy(localstack({ port: 31000 }, NODE_PORT));
    const withCertificate = containersOf(engine).filter(({ volumeMounts }) =>
      namesOf(volumeMounts).includes("certificate"),
    );

    expect(engine.all("Ingress")).toEqual([]);
    expect(engine.find("Service", "localstack-node-port", "localstack").inputs.spec).toMatchObject({
      type: "NodePort",
      ports: [{ name: "localstack", port: 31000, targetPort: "localstack", nodePort: 31000 }],
    });
    expect(gateConf(engine)).toContain(" ssl;");
    expect(namesOf(withCertificate)).toEqual(["gate"]);
    expect(engine.find("NetworkPolicy", "localstack").inputs.spec.ingress[0].from).toBeUndefined();
  });

  test("without TLS there is no certificate at all", async () => {
    const { engine } = await deploy(SHAPES["node port, no TLS"]);

    expect(engine.all("Secret")).toEqual([]);
    expect(gateConf(engine)).not.toContain(" ssl;");
  });

  const NAMES = [
    "localstack.homelab.local",
    "*.localstack.homelab.local",
    "*.s3.localstack.homelab.local",
    "*.lambda-url.us-east-1.localstack.homelab.local",
  ];

  test("the ingress leads every name to the gate, buckets' and functions' too, with one certificate for all", async () => {
    const { engine } = await deploy(HOME);
    const { inputs, options } = engine.find("Ingress", "localstack", "localstack");

    expect(inputs.metadata.annotations).toEqual({ "traefik.ingress.kubernetes.io/router.entrypoints": "websecure" });
    expect(inputs.spec).toEqual({
      ingressClassName: "traefik",
      rules: NAMES.map((host) => ({
        host,
        http: {
          paths: [
            {
              path: "/",
              pathType: "Prefix",
              backend: { service: { name: "localstack", port: { name: "localstack" } } },
            },
          ],
        },
      })),
      tls: [{ hosts: NAMES, secretName: "localstack-tls" }],
    });
    expect(options.dependsOn).toContain("localstack-tls");
    expect(engine.find("Secret", "localstack-tls", "localstack").inputs).toMatchObject({
      type: "kubernetes.io/tls",
      stringData: { "tls.crt": "CERTIFICATE localstack-certificate", "tls.key": "PRIVATE KEY localstack-key" },
    });
    expect(engine.find("CertRequest", "localstack-request").inputs.dnsNames).toEqual(NAMES);
  });

  test("a certificate for an address carries it as one", async () => {
    const { engine } = await deploy({ access: { mode: "node-port", hosts: ["fd00::10", "192.168.1.10", "nas.lan"] } });
    const { dnsNames, ipAddresses } = engine.find("CertRequest", "localstack-request").inputs;

    expect(dnsNames).toEqual(["nas.lan"]);
    expect(ipAddresses).toEqual(["fd00::10", "192.168.1.10"]);
  });

  test("plain HTTP has a route of its own under Traefik, by the same names, for the gate to redirect", async () => {
    const { engine } = await deploy(HOME);
    const { metadata, spec } = engine.find("Ingress", "localstack-redirect").inputs;

    expect(metadata.annotations).toEqual({ "traefik.ingress.kubernetes.io/router.entrypoints": "web" });
    expect(spec.tls).toBeUndefined();
    expect(spec.rules.map(({ host }: { host: string }) => host)).toEqual(NAMES);
  });

  test("cert-manager makes the certificate, wildcards included", async () => {
    const { engine } = await deploy(SHAPES["ingress, cluster issuer"]);
    const { metadata, spec } = engine.find("Ingress", "localstack").inputs;

    expect(metadata.annotations["cert-manager.io/cluster-issuer"]).toBe("letsencrypt");
    expect(spec.tls[0].hosts).toContain("*.s3.localstack.home.example.net");
    expect(engine.all("Secret")).toEqual([]);
    expect(engine.resources.filter(({ type }) => type.startsWith("tls:"))).toEqual([]);
    expect(engine.find("NetworkPolicy", "acme-solver", "localstack").inputs.spec.ingress[0].ports).toEqual([
      { protocol: "TCP", port: 8089 },
    ]);
    expect((await deploy(HOME)).engine.names("NetworkPolicy")).toEqual(["deny-all", "localstack"]);
  });

  test("another controller gets its own annotations, no second ingress, and is the only one let in", async () => {
    const { engine } = await deploy(
      ingress({ className: "nginx", podLabels: { app: "ingress-nginx" }, namespace: "ingress" }),
    );
    const { annotations } = engine.find("Ingress", "localstack").inputs.metadata;

    expect(engine.names("Ingress")).toEqual(["localstack"]);
    expect(annotations["nginx.ingress.kubernetes.io/proxy-body-size"]).toBe("0");
    expect(Object.keys(annotations).filter((key) => key.startsWith("traefik."))).toEqual([]);
    expect(engine.find("NetworkPolicy", "localstack").inputs.spec.ingress[0].from[0]).toEqual({
      namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "ingress" } },
      podSelector: { matchLabels: { app: "ingress-nginx" } },
    });
  });

  test("`up` waits for the ingress's address unless told that there will be none", async () => {
    const waits = async (config: StackConfig) =>
      (await deploy(config)).engine
        .all("Ingress")
        .map(({ inputs }) => inputs.metadata.annotations["pulumi.com/skipAwait"] !== "true");

    expect(await waits(HOME)).toEqual([true, true]);
    expect(await waits(ingress({ waitForAddress: false }))).toEqual([false, false]);
  });

  test("the gate knows who is at home, and whose word it takes for an address", async () => {
    const allowedRanges = ["192.168.1.0/24", "fd12::/64"];
    const { engine } = await deploy(localstack({ allowedRanges }, ingress({ trustedProxies: ["10.1.0.0/16"] })));
    const home = /geo \$is_home \{([^}]*)\}/.exec(gateConf(engine))?.[1] ?? "";

    expect(home.match(/\S+(?= 1;)/g)).toEqual(allowedRanges);
    expect(gateConf(engine).match(/set_real_ip_from .*/g)).toEqual(["set_real_ip_from 10.1.0.0/16;"]);
    expect(gateConf((await deploy(NODE_PORT)).engine)).not.toContain("set_real_ip_from");
  });

  test("browsers are told to stay on HTTPS with a public certificate only", async () => {
    const tls = { mode: "cluster-issuer", issuer: "ca", acme: false };
    const hsts = async (config: StackConfig) => gateConf((await deploy(config)).engine).includes("Strict-Transport");

    expect(await hsts(SHAPES["ingress, cluster issuer"])).toBe(true);
    expect(await hsts({ ...HOME, tls })).toBe(false);
    expect(await hsts(HOME)).toBe(false);
  });
});

describe("init scripts", () => {
  const SCRIPTS = { "10-bucket.sh": "awslocal s3 mb s3://photos\n", "20-table.py": "import boto3\n" };
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "homecloud-unit-"));
  });

  afterAll(async () => {
    await rm(folder, { recursive: true });
  });

  /** A stack whose folder holds these scripts. */
  async function withScripts(scripts: Record<string, string>): Promise<StackConfig> {
    const initScripts = await mkdtemp(join(folder, "init-"));
    for (const [name, content] of Object.entries(scripts)) await writeFile(join(initScripts, name), content);
    return localstack({ initScripts });
  }

  test("are mounted one by one, to be run: LocalStack would find each twice in a mounted folder", async () => {
    const { engine } = await deploy(await withScripts(SCRIPTS));
    const { volumes } = podOf(engine);

    expect(engine.find("ConfigMap", "localstack-init", "localstack").inputs.data).toEqual(SCRIPTS);
    expect(volumes.filter(({ name }: { name: string }) => name === "init")).toEqual([
      { name: "init", configMap: { name: "localstack-init", defaultMode: 0o755 } },
    ]);
    expect(mountsOf(engine, "localstack").filter(({ name }) => name === "init")).toEqual(
      Object.keys(SCRIPTS).map((name) => ({
        name: "init",
        mountPath: `/etc/localstack/init/ready.d/${name}`,
        subPath: name,
      })),
    );
  });

  test("where there are none, there is nothing of them", async () => {
    const { engine } = await deploy(await withScripts({ "README.md": "no script" }));

    expect(engine.names("ConfigMap")).not.toContain("localstack-init");
    expect(namesOf(podOf(engine).volumes)).not.toContain("init");
  });

  test("roll the pod when one is changed, added, renamed or gone, and not otherwise", async () => {
    const template = async (scripts: Record<string, string>) => templateOf(await deploy(await withScripts(scripts)));
    const before = await template(SCRIPTS);

    expect(await template(SCRIPTS)).toBe(before);
    expect(await template({ ...SCRIPTS, "README.md": "no script" })).toBe(before);
    expect(await template({ ...SCRIPTS, "20-table.py": "import os\n" })).not.toBe(before);
    expect(await template({ ...SCRIPTS, "30.sh": "" })).not.toBe(before);
    expect(await template({ "10-bucket.sh": SCRIPTS["10-bucket.sh"] })).not.toBe(before);
    expect(await template({ "10-bucket.sh": SCRIPTS["10-bucket.sh"], "21.py": SCRIPTS["20-table.py"] })).not.toBe(
      before,
    );
  });
});

describe("what rolls the pod", () => {
  const PRO = { ...HOME, localstack: { edition: "pro" }, localstackAuthToken: TOKEN };
  const CA = { mode: "private-ca", generation: 2 };

  test("nothing, where nothing has changed: a second run asks for the same", async () => {
    const asked = async (config: StackConfig) =>
      (await deploy(config)).engine.resources
        .map(({ type, name, inputs }) => `${type} ${name} ${JSON.stringify(inputs)}`)
        .sort();

    for (const config of [HOME, NODE_PORT, PRO]) expect(await asked(config)).toEqual(await asked(config));
  });

  test.each<[string, StackConfig, StackConfig]>([
    ["the token", PRO, { ...PRO, localstackAuthToken: "ls-another" }],
    ["the gate's configuration", HOME, localstack({ allowedRanges: ["10.0.0.0/8"] })],
    ["the quota", HOME, localstack({ storage: "19Gi" })],
    ["a further setting", HOME, localstack({ environment: { DEBUG: "1" } })],
    ["the services", HOME, localstack({ services: ["s3"] })],
    ["the name", HOME, localstack({ host: "aws.homelab.local" })],
    ["the certificate that the gate reads", NODE_PORT, { ...NODE_PORT, tls: CA }],
  ])("%s", async (_, before, after) => {
    expect(templateOf(await deploy(after))).not.toBe(templateOf(await deploy(before)));
  });

  test.each<[string, StackConfig]>([
    ["who else gets the settings", localstack({ clientNamespaces: ["apps"] })],
    ["who reads the metrics", localstack({ monitoringNamespace: "monitoring" })],
    ["what happens on destroy", localstack({ keepDataOnDestroy: false })],
    ["a CA that the ingress and functions read for themselves", { ...HOME, tls: CA }],
  ])("not %s", async (_, after) => {
    expect(templateOf(await deploy(after))).toBe(templateOf(await deploy(HOME)));
  });

  test("the checksum gives nothing away", async () => {
    const { engine } = await deploy(PRO);
    const { annotations } = engine.find("Deployment", "localstack").marked.spec.template.metadata;

    expect(annotations["homecloud/checksum"]).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe("settings of LocalStack", () => {
  test("data goes with the stack where asked", async () => {
    const { engine } = await deploy(localstack({ keepDataOnDestroy: false }));

    expect(engine.resources.filter(({ options }) => options.retainOnDelete)).toEqual([]);
  });

  test("a volume that was kept is asked for in its own size; the quota is the setting's", async () => {
    const { engine } = await deploy(localstack({ storage: "40Gi" }), "20Gi");
    const { spec } = engine.find("PersistentVolumeClaim", "localstack-data").inputs;

    expect(spec.resources.requests.storage).toBe("20Gi");
    expect(environment(engine, "watch").LIMIT).toBe(String(40 * 2 ** 30));
  });

  test("Lambda's images have a volume of their own, which can be fetched again and goes with the stack", async () => {
    const { engine } = await deploy(localstack({ lambda: { mode: "dind", imageStorage: "3Gi" } }));
    const { inputs, options } = engine.find("PersistentVolumeClaim", "localstack-lambda-images", "localstack");

    expect(inputs.spec.resources.requests.storage).toBe("3Gi");
    expect(options).toMatchObject({ retainOnDelete: false, ignoreChanges: ["spec"] });
    expect(environment(engine, "docker").CAP).toBe(String(3 * 2 ** 30));
    expect(environment(engine, "watch").LAMBDA_IMAGES_LIMIT).toBe(String(3 * 2 ** 30));
    const { engine: without } = await deploy(localstack({ lambda: { mode: "none" } }));
    expect(without.names("PersistentVolumeClaim")).toEqual(["localstack-data"]);
    expect(environment(without, "watch")).not.toHaveProperty("LAMBDA_IMAGES_LIMIT");
  });

  test("the node's Docker is its socket alone, as the group that may use it", async () => {
    const { engine } = await deploy(localstack({ lambda: LAMBDAS["host-docker"] }));
    const { volumes } = podOf(engine);

    expect(volumes).toContainEqual({ name: "docker", hostPath: { path: "/run/user/docker.sock", type: "Socket" } });
    expect(mountsOf(engine, "localstack")).toContainEqual({
      name: "docker",
      mountPath: "/run/homecloud-docker/docker.sock",
    });
    expect(container(engine, "localstack").securityContext.runAsGroup).toBe(999);
  });

  test("a namespace that asks gets the settings as variables, none of which is secret", async () => {
    const { engine, localstack: component } = await deploy(localstack({ clientNamespaces: ["apps", "ci"] }));

    for (const namespace of ["apps", "ci"]) {
      const { inputs, marked } = engine.find("ConfigMap", "localstack-aws", namespace);
      expect(inputs.data).toEqual(component.awsEnvironment);
      expect(isMarkedSecret(marked.data)).toBe(false);
    }
    expect((await deploy(HOME)).engine.names("ConfigMap")).not.toContain("localstack-aws");
  });

  test("metrics are for the namespace that is named", async () => {
    const { engine } = await deploy(localstack({ monitoringNamespace: "monitoring" }));

    expect(engine.find("NetworkPolicy", "localstack").inputs.spec.ingress.slice(1)).toEqual([
      {
        from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "monitoring" } } }],
        ports: [{ protocol: "TCP", port: 9090 }],
      },
    ]);
  });

  test("the quota follows the settings", async () => {
    const { engine } = await deploy(
      localstack({ namespace: "aws", storage: "10Gi", reserve: "256Mi", keepFree: "3Gi" }),
    );

    expect(environment(engine, "watch")).toMatchObject({
      LIMIT: String(10 * 2 ** 30),
      RESERVE: String(256 * 2 ** 20),
      KEEP_FREE: String(3 * 2 ** 30),
      NAMESPACE: "aws",
    });
  });

  test("a further setting reaches LocalStack, once, and takes the place of a default", async () => {
    const environmentOfUsers = { DEBUG: "1", EAGER_SERVICE_LOADING: "0", LAMBDA_DOCKER_FLAGS: "-e STAGE=home" };
    const { engine } = await deploy(localstack({ environment: environmentOfUsers }));
    const names = namesOf(container(engine, "localstack").env);

    expect(new Set(names).size).toBe(names.length);
    expect(environment(engine, "localstack")).toMatchObject({
      DEBUG: "1",
      EAGER_SERVICE_LOADING: "0",
      LAMBDA_DOCKER_FLAGS: expect.stringMatching(/ -e STAGE=home$/),
    });
  });

  test("everything of its own is in its namespace", async () => {
    const { engine } = await deploy(localstack({ namespace: "aws", clientNamespaces: ["apps"] }));
    const namespaces = engine.resources.map(({ inputs }) => inputs.metadata?.namespace).filter(Boolean);

    expect(new Set(namespaces)).toEqual(new Set(["aws", "apps"]));
    expect(engine.names("Namespace")).toEqual(["aws"]);
  });

  test("nodes, images and limits are what the settings say", async () => {
    const tolerations = [{ key: "nas", operator: "Exists", effect: "NoSchedule" }];
    const { engine } = await deploy(
      localstack({
        storageClass: "longhorn",
        nodeSelector: { disk: "large" },
        tolerations,
        images: { localstack: "mirror.lan/localstack-persist:4.14.0", nginx: "mirror.lan/nginx:1.30" },
        lambda: { mode: "dind", image: "mirror.lan/docker:28-dind", resources: { limits: { memory: "4Gi" } } },
        resources: { localstack: { limits: { cpu: "4" } } },
      }),
    );
    const pod = podOf(engine);

    for (const { inputs } of engine.all("PersistentVolumeClaim")) expect(inputs.spec.storageClassName).toBe("longhorn");
    expect(pod).toMatchObject({ nodeSelector: { disk: "large" }, tolerations });
    expect(containersOf(engine).map(({ name, image }) => [name, image])).toEqual([
      ["docker", "mirror.lan/docker:28-dind"],
      ["localstack", "mirror.lan/localstack-persist:4.14.0"],
      ["gate", "mirror.lan/nginx:1.30"],
      ["uploads", "mirror.lan/nginx:1.30"],
      ["watch", "mirror.lan/localstack-persist:4.14.0"],
    ]);
    expect(container(engine, "localstack").resources.limits).toEqual({ cpu: "4", memory: "2Gi" });
    expect(container(engine, "docker").resources.limits).toEqual({ cpu: "2", memory: "4Gi" });
  });
});

/** As the mocks have them: of no fixed shape. */
type Part = Recorded["inputs"];

const gateConf = (engine: Engine): string => engine.find("ConfigMap", "localstack-files").inputs.data["gate.conf"];

const podOf = (engine: Engine): Part => engine.find("Deployment", "localstack").inputs.spec.template.spec;

/** All that would make Kubernetes end the pod and start another, as text. */
const templateOf = ({ engine }: Deployed): string =>
  JSON.stringify(engine.find("Deployment", "localstack").inputs.spec.template);

const containersOf = (engine: Engine): Part[] => {
  const { initContainers = [], containers } = podOf(engine);
  return [...initContainers, ...containers];
};

const container = (engine: Engine, name: string): Part =>
  containersOf(engine).find((candidate) => candidate.name === name);

const mountsOf = (engine: Engine, name: string): Part[] => container(engine, name).volumeMounts;

const namesOf = (parts: Part[]): string[] => parts.map(({ name }) => name);

const environment = (engine: Engine, name: string): Record<string, string | undefined> =>
  Object.fromEntries(container(engine, name).env.map((entry: Part) => [entry.name, entry.value]));

/** Variables that this script, of shell or Python, cannot do without. */
function variablesOf(script: string): string[] {
  const found = (pattern: RegExp) => [...script.matchAll(pattern)].map((match) => String(match[1]));
  const own = [...found(/\b([A-Z_]{2,})=/g), ...found(/"\$\{([A-Z_]+):=/g)];
  const code = script.startsWith("#!") ? script.replaceAll(/^ *#.*/gm, "") : "";
  const used = [...code.matchAll(/\$\{?([A-Z][A-Z_]+)\b/g)].map((match) => String(match[1]));
  return [...new Set([...used, ...found(/environment\["(\w+)"\]/g)])].filter((name) => !own.includes(name));
}

/** Kind and name of every object that the pod mounts or reads. */
function referencesOf(engine: Engine): [string, string][] {
  const volumes: Part[] = podOf(engine).volumes;
  const ofVolumes = volumes.flatMap(({ persistentVolumeClaim, configMap, secret }): [string, string][] => [
    ...(persistentVolumeClaim ? [["PersistentVolumeClaim", persistentVolumeClaim.claimName] as [string, string]] : []),
    ...(configMap ? [["ConfigMap", configMap.name] as [string, string]] : []),
    ...(secret ? [["Secret", secret.secretName] as [string, string]] : []),
  ]);
  const variables: Part[] = containersOf(engine).flatMap(({ env = [] }) => env);
  const keys = variables.flatMap(({ valueFrom }) => (valueFrom?.secretKeyRef ? [valueFrom.secretKeyRef.name] : []));
  return [...ofVolumes, ...keys.map((name): [string, string] => ["Secret", name])];
}

/** Where these inputs hold an empty list or object. */
function emptyIn(value: unknown, path = ""): string[] {
  if (typeof value !== "object" || value === null) return [];
  const entries = Object.entries(value);
  return entries.length === 0 ? [path] : entries.flatMap(([key, item]) => emptyIn(item, `${path}.${key}`));
}
