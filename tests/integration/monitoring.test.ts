import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { renderRules } from "../../components/monitoring/rules.ts";
import { serviceMonitor } from "../../components/monitoring/service-monitor.ts";
import { monitoringTools, podTools, testTools } from "../tools.ts";
import { RegistryClient } from "./client.ts";
import { Pod, WRITER } from "./pod.ts";
import { Prometheus } from "./prometheus.ts";

const MIB = 2 ** 20;
const LIMIT = 100 * MIB;
const DAY = 24 * 3600;
const NAMESPACE = "registry";

let pod: Pod;
let prometheus: Prometheus;
let client: RegistryClient;

beforeAll(async () => {
  pod = await Pod.start(await podTools(await testTools()), { quota: { limitBytes: LIMIT, reserveBytes: 4 * MIB } });
  client = new RegistryClient(pod.url, WRITER);
  const { bin } = await monitoringTools();
  const monitor = serviceMonitor({
    workload: "registry",
    namespace: NAMESPACE,
    paths: ["/metrics", "/metrics/registry"],
  });
  const now = Math.floor(Date.now() / 1000);
  const certificates = [
    { namespace: NAMESPACE, secret: "registry-tls", expires: now + 13 * DAY },
    { namespace: NAMESPACE, secret: "registry-ui-tls", expires: now + 15 * DAY },
  ];
  prometheus = await Prometheus.start(
    bin("prometheus"),
    [{ monitor, address: `127.0.0.1:${pod.layout.metricsPort}`, labels: { namespace: NAMESPACE, job: "registry" } }],
    renderRules({ registry: NAMESPACE, localstack: undefined, certificates }),
  );
});
afterAll(async () => {
  await prometheus?.stop();
  await pod?.stop();
});

const page = async () => (await fetch(`http://127.0.0.1:${pod.layout.metricsPort}/metrics`)).text();

/** What fires all the time: the certificate that ends in 13 days. */
const ALWAYS = "HomecloudCertificateExpires warning";

test("promtool has nothing to say about the metrics", async () => {
  const { bin } = await monitoringTools();
  const { all, exitCode } = await execa(bin("promtool"), ["check", "metrics"], {
    input: await page(),
    all: true,
    reject: false,
  });

  expect(all).toBe("");
  expect(exitCode).toBe(0);
});

describe("a real Prometheus, told by the ServiceMonitor and the rules", () => {
  test("reads both pages, and tells them apart", async () => {
    await prometheus.untilFiring([ALWAYS], 20);
    const up = await prometheus.query("up");

    expect(up.map(({ metric, value }) => [metric.metrics_path, metric.namespace, value]).toSorted()).toEqual([
      ["/metrics", NAMESPACE, 1],
      ["/metrics/registry", NAMESPACE, 1],
    ]);
    expect(await prometheus.query("homecloud_registry_limit_bytes")).toMatchObject([{ value: LIMIT }]);
    expect((await prometheus.query("count by (metrics_path) (go_goroutines)"))[0]?.metric).toEqual({
      metrics_path: "/metrics/registry",
    });
  });

  test("tells of a certificate in its last 14 days, and of no other", async () => {
    const [alert, ...more] = (await prometheus.alerts()).filter(({ state }) => state === "firing");

    expect(more).toEqual([]);
    expect(alert?.labels.certificate).toBe("registry-tls");
    expect(alert?.annotations.description).toMatch(/^It expires in 1[23]d .*: pulumi up renews it\.$/);
  });

  test("tells that the registry is down while its process is, and then that it is back", async () => {
    await pod.kill("registry");
    await prometheus.untilFiring([ALWAYS, "HomecloudRegistryDown critical"], 30);

    pod.start("registry");
    await prometheus.untilFiring([ALWAYS], 60);
  });

  test("tells of answers that are errors", async () => {
    await pod.kill("registry");
    for (let attempt = 0; attempt < 40; attempt++) {
      const { status } = await client.request("/v2/large/tags/list");
      expect(status).toBe(503);
    }
    pod.start("registry");
    await prometheus.untilFiring([ALWAYS, "HomecloudRegistryErrors warning"], 60);
  });

  test("tells of wrong logins, and not of clients that ask how to log in", async () => {
    for (let ping = 0; ping < 50; ping++) expect((await new RegistryClient(pod.url).request("/v2/")).status).toBe(401);
    await sleep(5000);
    expect(await prometheus.firing()).not.toContain("HomecloudRegistryFailedLogins warning");

    const stranger = new RegistryClient(pod.url, { ...WRITER, password: "wrong" });
    for (let attempt = 0; attempt < 40; attempt++) await stranger.request("/v2/");
    await prometheus.untilFiring(
      [ALWAYS, "HomecloudRegistryErrors warning", "HomecloudRegistryFailedLogins warning"],
      20,
    );
  });

  test("tells of storage over 80 %, of writes that are refused and of 95 %, and that it has room again", async () => {
    const others = [ALWAYS, "HomecloudRegistryErrors warning", "HomecloudRegistryFailedLogins warning"];
    const first = await client.pushImage("large", "1", 85 * MIB);
    await prometheus.untilFiring([...others, "HomecloudRegistryFillingUp warning"], 30);

    await client.pushImage("more", "1", 12 * MIB);
    const full = ["HomecloudRegistryFillingUp warning", "HomecloudRegistryFillingUp critical"];
    await prometheus.untilFiring([...others, ...full, "HomecloudRegistryRefusesWrites critical"], 30);

    expect((await client.deleteManifest("large", first)).status).toBe(202);
    const holder = pod.holdCollectorLock();
    await sleep(3000);
    holder.release();
    expect((await pod.collectGarbage()).exitCode).toBe(0);
    // What is put off while garbage is collected is no error, and cannot be told from one.
    await prometheus.untilFiring([ALWAYS, "HomecloudRegistryFailedLogins warning"], 30);
  });

  test("tells that the registry is down when nothing of it answers", async () => {
    await pod.shutDown();
    await prometheus.untilFiring(
      [ALWAYS, "HomecloudRegistryDown critical", "HomecloudRegistryFailedLogins warning"],
      30,
    );
  });
});
