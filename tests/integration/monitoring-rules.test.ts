import { beforeAll, describe, expect, test } from "vitest";
import { renderDashboard } from "../../components/monitoring/dashboard.ts";
import { type RuleOptions, renderRules } from "../../components/monitoring/rules.ts";
import { monitoringTools } from "../tools.ts";
import { type ExpectedAlert, type Moment, Promtool, type Series } from "./promtool.ts";

const DAY = 24 * 3600;

const BOTH: RuleOptions = { registry: "registry", localstack: "localstack", certificates: [] };
const EXPIRES: RuleOptions = {
  ...BOTH,
  localstack: undefined,
  certificates: [{ namespace: "registry", secret: "registry-tls", expires: 20 * DAY }],
};
const CERT_MANAGER: RuleOptions = {
  ...EXPIRES,
  certificates: [{ namespace: "registry", secret: "registry-tls", expires: undefined }],
};

let promtool: Promtool;

beforeAll(async () => {
  promtool = new Promtool((await monitoringTools()).bin("promtool"));
});

/** A workload by the names of its alerts and metrics. */
const WORKLOADS = {
  registry: { alerts: "HomecloudRegistry", gauges: "homecloud_registry", requests: "homecloud_gate_requests_total" },
  localstack: {
    alerts: "HomecloudLocalStack",
    gauges: "homecloud_localstack",
    requests: "homecloud_localstack_requests_total",
  },
} as const;

type Name = keyof typeof WORKLOADS;

const HOURS = 200;

/** As Prometheus labels what it has read by a ServiceMonitor. */
const labelled = (metric: string, namespace: string, pod = "pod-1"): string => {
  const [name = "", own] = metric.split(/[{}]/);
  const target = `namespace="${namespace}",job="${namespace}",pod="${pod}",endpoint="metrics",metrics_path="/metrics"`;
  return `${name}{${target}${own ? `,${own}` : ""}}`;
};

/** Everything that a workload tells while all is well: 60 requests a minute, half of the storage used. */
function well(name: Name): Series {
  const { gauges, requests } = WORKLOADS[name];
  const metrics: Series = {
    [`${gauges}_healthy`]: `1x${HOURS}`,
    [`${gauges}_metrics_timestamp_seconds`]: `0+60x${HOURS}`,
    [`${gauges}_used_bytes`]: `50x${HOURS}`,
    [`${gauges}_limit_bytes`]: `100x${HOURS}`,
    [`${gauges}_full`]: `0x${HOURS}`,
    [`${requests}{class="2xx"}`]: `0+60x${HOURS}`,
    [`${requests}{class="4xx"}`]: `0+1x${HOURS}`,
    [`${requests}{class="5xx"}`]: `0x${HOURS}`,
    ...(name === "registry"
      ? { homecloud_registry_maintenance: `0x${HOURS}`, homecloud_gate_failed_logins_total: `0x${HOURS}` }
      : {}),
  };
  return Object.fromEntries(Object.entries(metrics).map(([metric, values]) => [labelled(metric, name), values]));
}

const ALL_WELL: Series = { ...well("registry"), ...well("localstack") };

/** All is well but for these metrics of a workload. */
const but = (name: Name, metrics: Series): Series => ({
  ...ALL_WELL,
  ...Object.fromEntries(Object.entries(metrics).map(([metric, values]) => [labelled(metric, name), values])),
});

async function expectMoments(series: Series, moments: Moment[], options = BOTH, every?: string): Promise<void> {
  const { all, exitCode } = await promtool.simulate(renderRules(options), series, moments, every);
  expect(exitCode, all).toBe(0);
}

describe("promtool accepts", () => {
  test.each([
    ["registry and LocalStack", BOTH],
    ["the registry alone", { ...BOTH, localstack: undefined }],
    ["certificates of the stack's own CA", EXPIRES],
    ["certificates of cert-manager's", CERT_MANAGER],
  ])("the rules for %s", async (_, options) => {
    const { all, exitCode } = await promtool.check(renderRules(options));

    expect(exitCode, all).toBe(0);
    expect(all).toMatch(/SUCCESS: \d+ rules found/);
  });

  test("every expression of the dashboard", async () => {
    const { panels } = renderDashboard({ registry: "registry", localstack: "localstack" });
    const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    // Grafana puts a duration in its place.
    const rules = expressions.map((expr, index) => ({
      record: `panel:${index}`,
      expr: expr.replaceAll("$__rate_interval", "5m"),
    }));
    const { all, exitCode } = await promtool.check([{ name: "dashboard", rules }]);

    expect(exitCode, all).toBe(0);
    expect(all).toContain(`SUCCESS: ${expressions.length} rules found`);
    expect(expressions.length).toBeGreaterThan(10);
  });

  test("nothing that is wrong: this check can fail", async () => {
    const { exitCode } = await promtool.check([{ name: "wrong", rules: [{ alert: "A", expr: "sum(" }] }]);

    expect(exitCode).not.toBe(0);
  });

  test("no wrong expectation either", async () => {
    const { exitCode } = await promtool.simulate(renderRules(BOTH), ALL_WELL, [
      { at: "1h", firing: ["HomecloudRegistryDown critical"] },
    ]);

    expect(exitCode).not.toBe(0);
  });
});

test("while all is well nothing fires", async () => {
  await expectMoments(ALL_WELL, [
    { at: "6m", firing: [] },
    { at: "3h", firing: [] },
  ]);
});

describe.each(Object.keys(WORKLOADS) as Name[])("%s", (name) => {
  const { alerts, gauges, requests } = WORKLOADS[name];
  const down = [`${alerts}Down critical`];

  describe("down", () => {
    test("when its pod is gone for five minutes, until it is back", async () => {
      // Prometheus ends every series of a target that it no longer finds.
      const gone = Object.fromEntries(
        Object.keys(well(name)).map((series) => {
          const again = series.includes("timestamp") ? "2400+60x100" : "1x100";
          const before = series.includes("timestamp") ? "0+60x10" : "1x10";
          return [series, `${before} stale _x28 ${again}`];
        }),
      );
      const moments = [
        { at: "14m", firing: [] },
        { at: "17m", firing: down },
        { at: "39m", firing: down },
        { at: "42m", firing: [] },
      ];
      await expectMoments({ ...ALL_WELL, ...gone }, moments);
    });

    test("when it is not ready for five minutes", async () => {
      await expectMoments(but(name, { [`${gauges}_healthy`]: "1x10 0x20 1x100" }), [
        { at: "15m", firing: [] },
        { at: "17m", firing: down },
        { at: "33m", firing: [] },
      ]);
    });

    test("when first it is not ready, and then gone, and each for less than five minutes", async () => {
      await expectMoments(but(name, { [`${gauges}_healthy`]: "1x10 0x3 stale _x100" }), [{ at: "17m", firing: down }]);
    });

    test("when its figures no longer change: whoever writes them has died", async () => {
      await expectMoments(but(name, { [`${gauges}_metrics_timestamp_seconds`]: "0+60x10 600x30 2460+60x60" }), [
        { at: "23m", firing: [] },
        { at: "27m", firing: down },
        { at: "43m", firing: [] },
      ]);
    });

    test("not when it is away for three minutes", async () => {
      await expectMoments(but(name, { [`${gauges}_healthy`]: "1x10 stale _x2 1x100" }), [
        { at: "13m", firing: [] },
        { at: "20m", firing: [] },
      ]);
    });

    test("when there has never been a metric of it", async () => {
      const others = Object.fromEntries(Object.entries(ALL_WELL).filter(([series]) => !series.includes(`"${name}"`)));
      await expectMoments(others, [{ at: "6m", firing: down }]);
    });
  });

  describe("storage", () => {
    const used = (values: string) => but(name, { [`${gauges}_used_bytes`]: values });
    const over80 = `${alerts}FillingUp warning`;
    const over95 = `${alerts}FillingUp critical`;

    test("over 80 %, then over 95 %, and after a cleaning neither", async () => {
      await expectMoments(used("79x10 81x20 96x20 50x50"), [
        { at: "11m", firing: [] },
        { at: "15m", firing: [] },
        { at: "17m", firing: [over80] },
        { at: "40m", firing: [over80, over95] },
        { at: "53m", firing: [] },
      ]);
    });

    test("not at 80 % itself, and not for an upload that is gone again", async () => {
      await expectMoments(used("80x30 99x3 40x50"), [
        { at: "29m", firing: [] },
        { at: "33m", firing: [] },
        { at: "40m", firing: [] },
      ]);
    });

    test("of a pod that is replaced meanwhile: the time does not begin anew", async () => {
      const series = Object.fromEntries(
        ["used", "limit"].flatMap((figure) => {
          const value = figure === "used" ? "90" : "100";
          const metric = `${gauges}_${figure}_bytes`;
          return [
            [labelled(metric, name), `${value}x3 stale`],
            [labelled(metric, name, "pod-2"), `_x4 ${value}x60`],
          ];
        }),
      );
      await expectMoments({ ...ALL_WELL, ...series }, [{ at: "6m", firing: [over80] }]);
    });
  });

  test("writes are refused for five minutes", async () => {
    await expectMoments(but(name, { [`${gauges}_full`]: "0x10 1x20 0x20" }), [
      { at: "15m", firing: [] },
      { at: "17m", firing: [`${alerts}RefusesWrites critical`] },
      { at: "33m", firing: [] },
    ]);
  });

  describe("answers of 500 and above", () => {
    const fires = [`${alerts}Errors warning`];
    const failing = (values: string, others = "0+60x200") =>
      but(name, {
        [`${requests}{class="5xx"}`]: values,
        [`${requests}{class="2xx"}`]: others,
        [`${requests}{class="4xx"}`]: "0x200",
      });

    test("more than one in twenty, until a quarter of an hour after the last", async () => {
      await expectMoments(failing("0x20 5+5x15 80x100"), [
        { at: "20m", firing: [] },
        { at: "35m", firing: fires },
        { at: "55m", firing: [] },
      ]);
    });

    test("not one in fifty", async () => {
      await expectMoments(failing("0+1x200", "0+50x200"), [{ at: "1h", firing: [] }]);
    });

    test("not a few, though they are most of what there was", async () => {
      await expectMoments(failing("0x20 6x100", "0x20 2x100"), [
        { at: "22m", firing: [] },
        { at: "30m", firing: [] },
      ]);
    });
  });
});

test("writes that garbage collection holds up are no errors", async () => {
  const series = but("registry", {
    'homecloud_gate_requests_total{class="5xx"}': "0x20 20+20x5 120x100",
    homecloud_registry_maintenance: "0x20 1x5 0x100",
  });
  await expectMoments(series, [
    { at: "24m", firing: [] },
    { at: "30m", firing: [] },
    { at: "50m", firing: [] },
  ]);
});

describe("failed logins", () => {
  const failed = (values: string) => but("registry", { homecloud_gate_failed_logins_total: values });

  test("more than 20 in 15 minutes, until a quarter of an hour after the last", async () => {
    await expectMoments(failed("0x20 10+10x5 60x100"), [
      { at: "20m", firing: [] },
      { at: "26m", firing: ["HomecloudRegistryFailedLogins warning"] },
      { at: "45m", firing: [] },
    ]);
  });

  test("not a person's three attempts, nor a node that tries one each two minutes", async () => {
    await expectMoments(failed("0x20 3x100"), [{ at: "25m", firing: [] }]);
    await expectMoments(failed("0+0.5x200"), [{ at: "1h", firing: [] }]);
  });
});

test("what another stack's registry does is not told as this one's", async () => {
  const other = Object.fromEntries(
    Object.entries({
      homecloud_registry_healthy: "0x100",
      homecloud_registry_used_bytes: "99x100",
      homecloud_registry_limit_bytes: "100x100",
      homecloud_registry_full: "1x100",
      homecloud_gate_failed_logins_total: "0+100x100",
      'homecloud_gate_requests_total{class="5xx"}': "0+100x100",
    }).map(([metric, values]) => [labelled(metric, "registry-2"), values]),
  );
  await expectMoments({ ...ALL_WELL, ...other }, [{ at: "1h", firing: [] }]);
});

describe("a certificate", () => {
  const fires = ["HomecloudCertificateExpires warning"];
  const hourly = Object.fromEntries(
    Object.entries(well("registry")).map(([series, values]) => [series, values.replace("0+60x", "0+3600x")]),
  );
  const days = (count: number) => count * 24;
  // A sample an hour: for the rest all is well at every evaluation.
  const watched = (extra: Series) => ({
    ...Object.fromEntries(Object.entries(hourly).map(([series, values]) => [series, values.replace(/x\d+$/, "x700")])),
    ...extra,
  });
  const certificatesOnly = (options: RuleOptions) =>
    renderRules(options).filter(({ name }) => name === "homecloud-certificates");

  test("of the stack's own CA: in its last 14 days, and when it has expired", async () => {
    const { all, exitCode } = await promtool.simulate(
      certificatesOnly(EXPIRES),
      watched({}),
      [
        { at: `${days(6)}h`, firing: [] },
        { at: `${days(6) + 1}h`, firing: fires },
        { at: `${days(21)}h`, firing: fires },
      ],
      "1h",
    );
    expect(exitCode, all).toBe(0);
  });

  test("of cert-manager's: in its last 14 days, until it is renewed", async () => {
    // With and without honorLabels in cert-manager's own ServiceMonitor.
    for (const labels of ['namespace="registry"', 'namespace="cert-manager",exported_namespace="registry"']) {
      const metric = `certmanager_certificate_expiration_timestamp_seconds{name="registry-tls",${labels}}`;
      const { all, exitCode } = await promtool.simulate(
        certificatesOnly(CERT_MANAGER),
        { [metric]: `${20 * DAY}x${days(8)} ${90 * DAY}x${days(10)}` },
        [
          { at: `${days(6)}h`, firing: [] },
          { at: `${days(6) + 1}h`, firing: fires },
          { at: `${days(8) + 2}h`, firing: [] },
        ],
        "1h",
      );
      expect(exitCode, all).toBe(0);
    }
  });

  test("of cert-manager's that nobody tells of: that is told", async () => {
    const other = 'certmanager_certificate_expiration_timestamp_seconds{name="web",namespace="apps"}';
    const { all, exitCode } = await promtool.simulate(certificatesOnly(CERT_MANAGER), { [other]: "0x100" }, [
      { at: "50m", firing: [] },
      { at: "65m", firing: ["HomecloudCertificateNotWatched warning"] },
    ]);
    expect(exitCode, all).toBe(0);
  });
});

describe("what people read", () => {
  const told = (severity: string, summary: string, description: string, guide: string, more = {}): ExpectedAlert => ({
    exp_labels: { severity, namespace: "registry", ...more },
    exp_annotations: { summary, description, runbook: `docs/monitoring.md#${guide}` },
  });

  test("figures, and what to type", async () => {
    const series = but("registry", {
      homecloud_registry_healthy: "0x100",
      homecloud_registry_used_bytes: "82.125x100",
      homecloud_registry_full: "1x100",
      'homecloud_gate_requests_total{class="2xx"}': "0+3x100",
      'homecloud_gate_requests_total{class="4xx"}': "0x100",
      'homecloud_gate_requests_total{class="5xx"}': "0+1x100",
      homecloud_gate_failed_logins_total: "0+2x100",
    });
    const expected: Record<string, ExpectedAlert> = {
      HomecloudRegistryDown: told(
        "critical",
        "The registry in registry is down",
        "For five minutes it has not been ready, or Prometheus has not read its metrics. See: " +
          "kubectl -n registry get pods; kubectl -n registry describe deployment registry",
        "homecloudregistrydown",
      ),
      HomecloudRegistryFillingUp: told(
        "warning",
        "The registry in registry has used more than 80 % of its storage",
        "82.12% of the limit are used. Writes stop below it, by the reserve.",
        "homecloudregistryfillingup",
      ),
      HomecloudRegistryRefusesWrites: told(
        "critical",
        "The registry in registry takes no more writes",
        "Its storage is full up to the reserve, or the node's disk is. Reads and deletes go on.",
        "homecloudregistryrefuseswrites",
      ),
      HomecloudRegistryErrors: told(
        "warning",
        "The registry in registry answers with errors",
        "25% of the last 15 minutes' answers had a status of 500 or above.",
        "homecloudregistryerrors",
      ),
      HomecloudRegistryFailedLogins: told(
        "warning",
        "Logins to the registry in registry fail",
        "30 in 15 minutes: somebody guesses passwords, or a machine has an old one. By whom: " +
          `kubectl -n registry logs deploy/registry -c gate --since=15m | grep -E '"status":4(01|29)' | grep -v '"user":""'`,
        "homecloudregistryfailedlogins",
      ),
    };
    await expectMoments(
      series,
      Object.entries(expected).map(([name, alert]) => ({ at: "30m", alert: { name, expected: [alert] } })),
    );
  });

  test("when a certificate expires, or that it has", async () => {
    const certificate = (description: string) => ({
      name: "HomecloudCertificateExpires",
      expected: [
        told(
          "warning",
          "The certificate registry-tls in registry expires within 14 days",
          description,
          "homecloudcertificateexpires",
          { certificate: "registry-tls" },
        ),
      ],
    });
    const moments = [
      { at: "168h", alert: certificate("It expires in 13d 0h 0m 0s: pulumi up renews it.") },
      { at: "500h", alert: certificate("It has expired: pulumi up renews it.") },
    ];
    await expectMoments({}, moments, EXPIRES, "1h");
  });
});
