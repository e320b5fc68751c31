import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import * as pulumi from "@pulumi/pulumi";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { parse } from "yaml";
import { monitoringProblems } from "../../cluster/monitoring.ts";
import { type Dashboard, type Panel, renderDashboard } from "../../components/monitoring/dashboard.ts";
import { type RuleGroup, renderRules } from "../../components/monitoring/rules.ts";
import type { ServiceMonitorSpec } from "../../components/monitoring/service-monitor.ts";
import { deploy } from "../../program.ts";
import { GeneratedValues } from "../../render/generated-values.ts";
import { type Manifest, type Rendered, render } from "../../render/render.ts";
import { Engine } from "./mocks.ts";
import { isLetThrough, type Policy } from "./network-policy.ts";
import { ED25519, NO_LOCALSTACK, NODE_KEY, problemsOf, SHAPES, type StackConfig, settingsOf } from "./stacks.ts";

vi.mock(import("bcryptjs"), async (original) => (await import("./bcrypt-once.ts")).once(await original(), "04"));

vi.spyOn(pulumi.log, "warn").mockResolvedValue();

const HOME = SHAPES["ingress, private CA"];
const ON = { enabled: true };
const WATCHED = { ...HOME, monitoring: ON };

let folder: string;
let generated: GeneratedValues;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "homecloud-unit-"));
  generated = await GeneratedValues.open(join(folder, "values.json"));
});

afterAll(() => rm(folder, { recursive: true }));

const rendered = (config: StackConfig): Promise<Rendered> =>
  render(settingsOf(config), generated, { project: "homecloud", stack: "test", secrets: true });

const ofKind = ({ manifests }: Rendered, kind: string) => manifests.filter((manifest) => manifest.kind === kind);

/** Groups of the one PrometheusRule. */
function groupsOf(result: Rendered): RuleGroup[] {
  const [rule, ...more] = ofKind(result, "PrometheusRule");
  expect(more).toEqual([]);
  return rule ? (rule.spec as { groups: RuleGroup[] }).groups : [];
}

describe("the setting", () => {
  test("is off unless asked for: the cluster need not know the operator", async () => {
    const result = await rendered(HOME);

    expect(result.manifests.map(({ apiVersion }) => apiVersion)).not.toContain("monitoring.coreos.com/v1");
    expect(JSON.stringify(result.manifests)).not.toContain("grafana");
  });

  test("lets Prometheus' namespace read the metrics, with nothing else said, and whoever was named before", async () => {
    const config = { ...WATCHED, registry: { monitoringNamespace: "lens" } };
    const policies = ofKind(await rendered(config), "NetworkPolicy") as unknown as Policy[];
    const reads = (from: string, workload: string) => {
      const pod = {
        namespace: workload,
        labels: { "app.kubernetes.io/name": workload, "app.kubernetes.io/part-of": "homecloud" },
      };
      return isLetThrough(policies, { namespace: from, labels: { app: "prometheus" } }, pod, 9090);
    };

    expect([reads("monitoring", "registry"), reads("monitoring", "localstack")]).toEqual([true, true]);
    expect([reads("lens", "registry"), reads("lens", "localstack")]).toEqual([true, false]);
    expect([reads("apps", "registry"), reads("apps", "localstack")]).toEqual([false, false]);
  });

  test.each([
    [{ labels: { "app.kubernetes.io/part-of": "x" } }, "monitoring.labels", "other than the program's own"],
    [{ labels: { "a b": "x" } }, "monitoring.labels", "labels such as release: kube-prometheus-stack"],
    [{ labels: { release: 1 } }, "monitoring.labels.release", "in quotes"],
    [{ labels: { release: "not a value" } }, "monitoring.labels.release", "labels such as"],
    [{ namespace: "Monitoring" }, "monitoring.namespace", "a Kubernetes name"],
    [{ dashboards: true }, "monitoring.dashboards", "Did you mean monitoring.dashboard?"],
  ])("%j is a mistake", (monitoring, setting, allowed) => {
    const problems = problemsOf({ ...HOME, monitoring });

    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(new RegExp(`^${setting}: `));
    expect(problems[0]).toContain(allowed);
  });
});

test("Pulumi.homelab.yaml shows it in a comment that is right once it is none, with the defaults", () => {
  const text = read("Pulumi.homelab.yaml");
  const [block = ""] = /^ {2}# homecloud:monitoring:\n(?: {2}# .*\n)+/m.exec(text) ?? [];
  const shown = parse(block.replaceAll(/^ {2}# /gm, ""))["homecloud:monitoring"];

  expect(settingsOf({ ...HOME, monitoring: shown }).monitoring).toEqual(settingsOf(WATCHED).monitoring);
  expect(Object.keys(shown)).toEqual(["enabled", ...Object.keys(settingsOf(WATCHED).monitoring ?? {})]);
});

describe("what Prometheus is told to read", () => {
  const spec = (manifest: Manifest | undefined) => manifest?.spec as ServiceMonitorSpec;

  test("stands in its namespace, with the labels that the operator selects by", async () => {
    const labels = { release: "prom", team: "home" };
    const result = await rendered({ ...HOME, monitoring: { ...ON, namespace: "observability", labels } });
    const operated = result.manifests.filter(({ apiVersion }) => apiVersion === "monitoring.coreos.com/v1");

    expect(operated.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`)).toEqual([
      "PrometheusRule observability/homecloud-registry",
      "ServiceMonitor observability/homecloud-localstack",
      "ServiceMonitor observability/homecloud-registry",
    ]);
    for (const { metadata } of operated)
      expect(metadata.labels).toEqual({
        ...labels,
        "app.kubernetes.io/name": "monitoring",
        "app.kubernetes.io/part-of": "homecloud",
        "app.kubernetes.io/managed-by": "pulumi",
      });
  });

  test("is one Service of each workload, by a port that it has", async () => {
    // Without an ingress there is a second Service, which has no metrics.
    const result = await rendered({ ...SHAPES["node port, private CA"], monitoring: ON });
    const services = ofKind(result, "Service");

    for (const workload of ["registry", "localstack"]) {
      const monitor = ofKind(result, "ServiceMonitor").find(
        ({ metadata }) => metadata.name === `homecloud-${workload}`,
      );
      const { selector, namespaceSelector, endpoints } = spec(monitor);
      const selected = services.filter(
        ({ metadata, spec }) =>
          namespaceSelector.matchNames.includes(String(metadata.namespace)) &&
          Object.entries(selector.matchLabels).every(
            ([key, value]) => (metadata.labels as Record<string, string>)[key] === value,
          ) &&
          (spec as { ports: { name: string }[] }).ports.some(({ name }) => name === endpoints[0]?.port),
      );
      expect(selected.map(({ metadata }) => metadata.name)).toEqual([workload]);
    }
  });

  test("are the pages of each, told apart: the registry has two on one port", async () => {
    const monitors = ofKind(await rendered(WATCHED), "ServiceMonitor");
    const paths = monitors.map((monitor) => spec(monitor).endpoints.map(({ path }) => path));

    expect(paths).toEqual([["/metrics"], ["/metrics", "/metrics/registry"]]);
    for (const endpoint of monitors.flatMap((monitor) => spec(monitor).endpoints)) {
      expect(endpoint.relabelings).toEqual([
        { action: "replace", sourceLabels: ["__metrics_path__"], targetLabel: "metrics_path" },
      ]);
      // LocalStack's label `service` would be lost.
      expect(endpoint.honorLabels).toBe(true);
    }
  });

  test("is no LocalStack where there is none", async () => {
    const result = await rendered({ ...WATCHED, ...NO_LOCALSTACK });

    expect(ofKind(result, "ServiceMonitor").map(({ metadata }) => metadata.name)).toEqual(["homecloud-registry"]);
    expect(JSON.stringify(groupsOf(result))).not.toMatch(/localstack/i);
    expect(JSON.stringify(ofKind(result, "ConfigMap"))).not.toContain("homecloud_localstack");
  });
});

describe("certificates", () => {
  const alerts = (result: Rendered) =>
    groupsOf(result)
      .filter(({ name }) => name === "homecloud-certificates")
      .flatMap(({ rules }) => rules);

  test.each(["ingress, private CA", "node port, private CA"] as const)(
    "%s: the rule carries each one's own date",
    async (shape) => {
      const result = await rendered({ ...SHAPES[shape], monitoring: ON });
      const served = ofKind(result, "Secret").filter(({ type }) => type === "kubernetes.io/tls");
      const dates = served.map(({ metadata, stringData }) => {
        const { validTo } = new X509Certificate((stringData as Record<string, string>)["tls.crt"] ?? "");
        return [metadata.name, Date.parse(validTo) / 1000];
      });

      expect(dates.length).toBeGreaterThan(1);
      expect(
        alerts(result).map(({ labels, expr }) => [labels.certificate, Number(/vector\((\d+)\)/.exec(expr)?.[1])]),
      ).toEqual(expect.arrayContaining(dates));
      expect(alerts(result)).toHaveLength(dates.length);
    },
  );

  test("of cert-manager's: it is asked for those that the Ingresses name", async () => {
    const result = await rendered({ ...SHAPES["ingress, cluster issuer"], monitoring: ON });
    const named = ofKind(result, "Ingress")
      .flatMap(({ spec }) => (spec as { tls?: { secretName: string }[] }).tls ?? [])
      .map(({ secretName }) => secretName);

    const expiring = alerts(result).filter(({ alert }) => alert === "HomecloudCertificateExpires");
    expect(expiring.map(({ labels }) => labels.certificate).toSorted()).toEqual(named.toSorted());
    for (const { expr, labels } of expiring) expect(expr).toContain(`{name="${labels.certificate}",namespace="`);
  });

  test("none where there is no TLS", async () => {
    expect(alerts(await rendered({ ...SHAPES["node port, no TLS"], monitoring: ON }))).toEqual([]);
  });

  test("are read to the second, as Prometheus counts", async () => {
    const engine = await Engine.start();
    deploy(settingsOf(WATCHED));
    await pulumi.runtime.disconnect();

    const { groups } = engine.find("PrometheusRule", "homecloud-registry").inputs.spec as { groups: RuleGroup[] };
    // The mocks' certificates expire half a second later.
    expect(JSON.stringify(groups)).toContain(`vector(${Date.parse("2030-01-01T00:00:00Z") / 1000})`);
  });
});

describe("in the order of things", () => {
  test("warnings come when all that they are about is there, and nodes are told last", async () => {
    const engine = await Engine.start();
    const nodes = [{ name: "k3s-1", host: "192.168.1.11", hostKey: ED25519 }];
    deploy(settingsOf({ ...WATCHED, nodeSshPrivateKey: NODE_KEY, nodeTrust: { nodes } }));
    await pulumi.runtime.disconnect();

    const rule = engine.find("PrometheusRule", "homecloud-registry").options;
    expect(rule.dependsOn).toEqual(expect.arrayContaining(["registry", "localstack"])); // their Deployments, among others
    expect(rule.provider).toBe("cluster");
    const last = engine.find("Command", "node-trust-k3s-1").options.dependsOn;
    expect(last).toEqual(expect.arrayContaining(["prometheus-rule", "dashboard", "service-monitor-registry"]));
  });
});

describe("the dashboard", () => {
  const both = renderDashboard({ registry: "registry", localstack: "localstack" });

  test("reaches Grafana as valid JSON in a ConfigMap that its sidecar finds", async () => {
    const result = await rendered(WATCHED);
    const config = ofKind(result, "ConfigMap").find(({ metadata }) => metadata.namespace === "monitoring");

    expect(config?.metadata).toMatchObject({
      name: "homecloud-registry-dashboard",
      labels: { grafana_dashboard: "1" },
    });
    const files = config?.data as Record<string, string>;
    expect(Object.keys(files)).toEqual(["homecloud-registry.json"]);
    expect(JSON.parse(files["homecloud-registry.json"] ?? "")).toEqual(JSON.parse(JSON.stringify(both)));
  });

  test("can be left out", async () => {
    const result = await rendered({ ...HOME, monitoring: { ...ON, dashboard: false } });

    expect(ofKind(result, "ConfigMap").filter(({ metadata }) => metadata.namespace === "monitoring")).toEqual([]);
  });

  test("two stacks have two", () => {
    const other = renderDashboard({ registry: "registry-2", localstack: undefined });

    expect(other.uid).not.toBe(both.uid);
    expect(other.title).not.toBe(both.title);
    for (const { uid } of [both, other]) expect(uid).toMatch(/^[a-z0-9-]{1,40}$/);
  });

  test.each<[string, Dashboard]>([
    ["both", both],
    ["the registry alone", renderDashboard({ registry: "registry", localstack: undefined })],
  ])("%s: each panel has an id, a title, a place and queries of its own", (_, { panels }) => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    for (const panel of panels) {
      expect(panel.title).not.toBe("");
      expect(panel.gridPos.x + panel.gridPos.w).toBeLessThanOrEqual(24);
      if (panel.type === "row") continue;
      expect(panel.targets?.length, panel.title).toBeGreaterThan(0);
      expect(new Set(panel.targets?.map(({ refId }) => refId)).size).toBe(panel.targets?.length);
      expect(panel.datasource).toEqual({ type: "prometheus", uid: "$datasource" });
      for (const { datasource } of panel.targets ?? []) expect(datasource).toEqual(panel.datasource);
    }
    for (const [index, one] of panels.entries())
      for (const other of panels.slice(index + 1))
        expect(overlap(one, other), `${one.title}, ${other.title}`).toBe(false);
  });

  test("asks which Prometheus, by a variable that the panels use", () => {
    const { list } = both.templating as { list: { name: string; type: string; query: string }[] };

    expect(list).toEqual([expect.objectContaining({ name: "datasource", type: "datasource", query: "prometheus" })]);
  });

  test("shows what was asked for", () => {
    const shown = both.panels.map(({ title }) => title).join("\n");

    for (const part of ["Storage used", "Requests by class", "500 and above", "Failed logins", "Uploads", "Services"])
      expect(shown).toContain(part);
  });
});

function overlap({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

const RULES = [
  ...renderRules({
    registry: "registry",
    localstack: "localstack",
    certificates: [
      { namespace: "registry", secret: "registry-tls", expires: undefined },
      { namespace: "registry", secret: "registry-tls", expires: 1 },
    ],
  }),
].flatMap(({ rules }) => rules);

test("every metric in a rule or a panel is one that a pod tells", () => {
  const told = new Set([...read("components/registry/measure.sh").matchAll(/# TYPE (\w+)/g)].map((match) => match[1]));
  for (const [, name] of read("components/localstack/watch.py").matchAll(
    /(?:gauge|metric|counter)\(\s*"([a-z][a-z_]+)"/g,
  ))
    told.add(`homecloud_localstack_${name}`);
  const { panels } = renderDashboard({ registry: "registry", localstack: "localstack" });
  const expressions = [...RULES, ...panels.flatMap(({ targets = [] }) => targets)].map(({ expr }) => expr);
  const asked = expressions.flatMap((expr) => [...expr.matchAll(/\bhomecloud_\w+/g)].map(([name]) => name));

  expect(asked.length).toBeGreaterThan(30);
  for (const name of asked) expect([...told], name).toContain(name);
});

test("every alert is explained where it says that it is", () => {
  const headings = [...read("docs/monitoring.md").matchAll(/^#+ (.+)$/gm)].map((match) => match[1]?.toLowerCase());

  for (const { alert, annotations } of RULES) {
    expect(annotations.runbook).toBe(`docs/monitoring.md#${alert.toLowerCase()}`);
    expect(headings, alert).toContain(alert.toLowerCase());
  }
});

describe("the cluster", () => {
  /** What an API server says when it is asked which kinds of the operator's it has, and which namespaces. */
  let server: Server;
  let kinds: string[] | undefined;

  beforeAll(async () => {
    server = createServer((request, response) => {
      const found = answers()[request.url ?? ""];
      response.writeHead(found ? 200 : 404, { "content-type": "application/json" });
      response.end(JSON.stringify(found ?? { kind: "Status", code: 404 }));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  afterAll(() => {
    server.close();
  });

  const answers = (): Record<string, object> => ({
    ...(kinds
      ? {
          "/apis/monitoring.coreos.com/v1": {
            kind: "APIResourceList",
            groupVersion: "monitoring.coreos.com/v1",
            resources: kinds.map((name) => ({ name, singularName: "", namespaced: true, kind: "", verbs: [] })),
          },
        }
      : {}),
  });

  function problems(config: StackConfig): Promise<string[]> {
    const { port } = server.address() as AddressInfo;
    const kubeconfig = new KubeConfig();
    kubeconfig.loadFromClusterAndUser(
      { name: "test", server: `http://127.0.0.1:${port}`, skipTLSVerify: true },
      { name: "test" },
    );
    return monitoringProblems(kubeconfig, [{ metadata: { name: "monitoring" } }], settingsOf(config));
  }

  test("without the operator: told before anything is made, with what to do", async () => {
    kinds = undefined;
    const [problem, ...more] = await problems(WATCHED);

    expect(more).toEqual([]);
    expect(problem).toMatch(
      /^monitoring\.enabled: the cluster has no servicemonitors\.monitoring\.coreos\.com and no prom/,
    );
    expect(problem).toContain("kube-prometheus-stack");
  });

  test("with a part of it: which part is missing", async () => {
    kinds = ["servicemonitors"];

    expect((await problems(WATCHED))[0]).toContain("has no prometheusrules.monitoring.coreos.com, which");
  });

  test("with the operator, in another namespace", async () => {
    kinds = ["servicemonitors", "prometheusrules", "podmonitors"];

    expect(await problems(WATCHED)).toEqual([]);
    expect(await problems({ ...HOME, monitoring: { ...ON, namespace: "observability" } })).toEqual([
      'monitoring.namespace: "observability" is not in the cluster; allowed: the namespace that Prometheus runs in',
    ]);
  });

  test("is not asked where nothing is wanted of it", async () => {
    kinds = undefined;

    expect(await problems(HOME)).toEqual([]);
  });
});
