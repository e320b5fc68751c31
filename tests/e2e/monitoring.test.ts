import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Dashboard } from "../../components/monitoring/dashboard.ts";
import type { RuleGroup } from "../../components/monitoring/rules.ts";
import type { ServiceMonitorSpec } from "../../components/monitoring/service-monitor.ts";
import { PROJECT } from "../../config/project.ts";
import { Prometheus, type Target } from "../integration/prometheus.ts";
import { monitoringTools } from "../tools.ts";
import {
  apply,
  collectGarbage,
  deployStack,
  kubectl,
  lab,
  registryPod,
  removeNamespaces,
  type TestStack,
} from "./cluster.ts";
import { ociImage } from "./images.ts";
import { addOperatorKinds, removeOperatorKinds } from "./operator-kinds.ts";
import { Skopeo } from "./skopeo.ts";

const MIB = 2 ** 20;
const MONITORING = "e2e-monitoring";
const REGISTRY = "registry-watched";
const LOCALSTACK = "localstack-watched";
const VALUES = {
  [`${PROJECT}:registryUi`]: JSON.stringify({ enabled: false }),
  [`${PROJECT}:localstack`]: JSON.stringify({
    ...{ namespace: LOCALSTACK, host: "watched.aws.test", port: 30761, edition: "ephemeral", lambda: { mode: "none" } },
    ...{ storage: "256Mi", reserve: "32Mi", keepFree: "64Mi" },
  }),
  [`${PROJECT}:clusterNames`]: "none",
  [`${PROJECT}:monitoring`]: JSON.stringify({ enabled: true, namespace: MONITORING }),
};

let stack: TestStack;
let api: ChildProcess;
let prometheus: Prometheus;

beforeAll(async () => {
  await apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: MONITORING } });
  await removeOperatorKinds();
});

afterAll(async () => {
  await prometheus?.stop();
  api?.kill();
  await removeNamespaces(MONITORING, REGISTRY, LOCALSTACK);
  await removeOperatorKinds();
});

const deploy = () => deployStack("watched", 30760, {}, VALUES);

test("without the operator nothing is deployed, and it is said why", async () => {
  await expect(deploy()).rejects.toThrow(
    /monitoring\.enabled: the cluster has no servicemonitors\.monitoring\.coreos\.com and no prometheusrules\./,
  );
  expect(await kubectl("get", "namespace", REGISTRY, "--ignore-not-found")).toBe("");
});

test("what is deployed for the operator makes Prometheus read the pods, and nothing fires", async () => {
  await addOperatorKinds();
  stack = await deploy();
  const { groups } = await specOf<{ groups: RuleGroup[] }>(`prometheusrule/homecloud-${REGISTRY}`);
  const address = await openApi();
  const { bin } = await monitoringTools();
  prometheus = await Prometheus.start(bin("prometheus"), await targets(address), groups);

  await prometheus.untilFiring([], 30);
  const healthy = await prometheus.query("homecloud_registry_healthy or homecloud_localstack_healthy");
  expect(healthy.map(({ metric, value }) => [metric.namespace, value]).toSorted()).toEqual([
    [LOCALSTACK, 1],
    [REGISTRY, 1],
  ]);
});

test("every panel of the dashboard has something to show", async () => {
  const name = `homecloud-${REGISTRY}`;
  const config = await kubectl("-n", MONITORING, "get", `configmap/${name}-dashboard`, "-o", "json");
  const { data, metadata } = JSON.parse(config) as { data: Record<string, string>; metadata: { labels: object } };
  const { panels } = JSON.parse(data[`${name}.json`] ?? "") as Dashboard;

  expect(metadata.labels).toMatchObject({ grafana_dashboard: "1" });
  for (const { title, targets = [] } of panels)
    for (const { expr } of targets)
      expect((await prometheus.query(expr.replaceAll("$__rate_interval", "30s"))).length, title).toBeGreaterThan(0);
});

test("storage over 80 % is told, and a collection ends it", async () => {
  const writer = new Skopeo(stack);
  const large = await ociImage(212 * MIB);
  expect((await writer.push(`oci:${large.folder}:1.0`, "large/app:1.0")).exitCode).toBe(0);
  await prometheus.untilFiring(["HomecloudRegistryFillingUp warning"], 30);
  const [alert] = await prometheus.alerts();
  expect(alert?.labels).toMatchObject({ namespace: REGISTRY });
  expect(alert?.annotations.description).toMatch(/^8\d\.\d+% of the limit are used/);

  expect((await writer.delete("large/app:1.0")).exitCode).toBe(0);
  await collectGarbage(stack.namespace);
  await prometheus.untilFiring([], 30);
});

test("a registry that is scaled to zero is told, until it is back", async () => {
  await scale(REGISTRY, "registry", 0);
  await prometheus.untilFiring(["HomecloudRegistryDown critical"], 60);

  await scale(REGISTRY, "registry", 1);
  await registryPod(REGISTRY);
  await prometheus.untilFiring([], 60);
});

test("so is LocalStack", async () => {
  await scale(LOCALSTACK, "localstack", 0);
  await prometheus.untilFiring(["HomecloudLocalStackDown critical"], 60);

  await scale(LOCALSTACK, "localstack", 1);
  await prometheus.untilFiring([], 150);
});

test("wrong logins are told", async () => {
  const options = ["--silent", "--output", "/dev/null", "--cacert", stack.caFile, "--user", "homelab:wrong"];
  const attempts = Array.from({ length: 40 }, () => execa("curl", [...options, `${stack.outputs.registryUrl}/v2/`]));
  await Promise.all(attempts);

  await prometheus.untilFiring(["HomecloudRegistryFailedLogins warning"], 30);
});

async function specOf<T>(object: string): Promise<T> {
  return (JSON.parse(await kubectl("-n", MONITORING, "get", object, "-o", "json")) as { spec: T }).spec;
}

async function scale(namespace: string, name: string, replicas: number): Promise<void> {
  await kubectl("-n", namespace, "scale", `deployment/${name}`, `--replicas=${replicas}`);
}

/** The API server on loopback, which hands requests on to Services: pods may come and go. Returns `host:port`. */
async function openApi(): Promise<string> {
  const args = ["--kubeconfig", lab.kubeconfig, "proxy", "--port=0", "--address=127.0.0.1"];
  api = spawn(lab.bin("kubectl"), args, { env: lab.env, stdio: ["ignore", "pipe", "inherit"] });
  if (!api.stdout) throw new Error("kubectl proxy has no output");
  const [line] = (await once(createInterface(api.stdout), "line")) as [string];
  return line.replace("Starting to serve on ", "");
}

/** What the ServiceMonitors select, by the way through the API server. */
async function targets(address: string): Promise<Target[]> {
  return Promise.all(
    [REGISTRY, LOCALSTACK].map(async (namespace): Promise<Target> => {
      const monitor = await specOf<ServiceMonitorSpec>(`servicemonitor/homecloud-${namespace}`);
      const selector = Object.entries(monitor.selector.matchLabels).map(([key, value]) => `${key}=${value}`);
      const { items } = JSON.parse(
        await kubectl("-n", namespace, "get", "services", "-l", selector.join(","), "-o", "json"),
      ) as { items: { metadata: { name: string }; spec: { ports: { name: string }[] } }[] };
      const port = monitor.endpoints[0]?.port;
      const found = items.filter(({ spec }) => spec.ports.some(({ name }) => name === port));
      if (found.length !== 1) throw new Error(`${found.length} Services in ${namespace} have a port ${port}`);
      const service = String(found[0]?.metadata.name);
      return {
        monitor,
        address,
        prefix: `/api/v1/namespaces/${namespace}/services/${service}:${port}/proxy`,
        labels: { namespace, service, job: service },
      };
    }),
  );
}
