import { createHash } from "node:crypto";

/** What the dashboard shows. */
export interface DashboardOptions {
  /** Namespace of the registry. */
  registry: string;
  /** Namespace of LocalStack; undefined where there is none. */
  localstack: string | undefined;
}

/** A query, and what its lines are called: `{{class}}` stands for a label's value. */
interface Query {
  expr: string;
  legend: string;
}

/** A panel without its place. */
interface PanelParts {
  title: string;
  type: "stat" | "gauge" | "timeseries" | "table";
  /** Of 24 columns. */
  width: number;
  queries: Query[];
  /** As Grafana names units: bytes, percentunit, reqps, short. */
  unit: string;
  /** Grafana's own fields beside it. */
  defaults?: object;
  /** What else the panel has. */
  more?: object;
}

/** A panel as Grafana reads it. */
export interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { refId: string; expr: string; [field: string]: unknown }[];
  [field: string]: unknown;
}

export interface Dashboard {
  uid: string;
  title: string;
  panels: Panel[];
  [field: string]: unknown;
}

interface Row {
  title: string;
  panels: PanelParts[];
}

/** Whichever Prometheus the person chooses at the top of the page. */
const DATA_SOURCE = { type: "prometheus", uid: "$datasource" };

const COLUMNS = 24;
const PANEL_HEIGHT = 7;

/** The dashboard's model. Source: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/ */
export function renderDashboard(options: DashboardOptions): Dashboard {
  const { registry, localstack } = options;
  const rows = [registryRow(registry), ...(localstack ? [localstackRow(localstack)] : [])];
  return {
    // The same from `up` to `up`, another for each stack, and 40 characters at most.
    uid: `homecloud-${createHash("sha256").update(registry).digest("hex").slice(0, 16)}`,
    title: registry === "registry" ? "Homecloud" : `Homecloud (${registry})`,
    tags: ["homecloud"],
    schemaVersion: 39,
    editable: true,
    refresh: "1m",
    time: { from: "now-6h", to: "now" },
    timezone: "browser",
    templating: {
      list: [{ name: "datasource", label: "Data source", type: "datasource", query: "prometheus", refresh: 1 }],
    },
    annotations: { list: [] },
    panels: place(rows),
  };
}

function registryRow(namespace: string): Row {
  const only = `{namespace="${namespace}"}`;
  const gauge = (name: string) => `homecloud_registry_${name}${only}`;
  return {
    title: "Registry",
    panels: [
      health(gauge("healthy")),
      usedShare(gauge("used_bytes"), gauge("limit_bytes")),
      storage(gauge("used_bytes"), gauge("limit_bytes"), gauge("disk_free_bytes")),
      requests("homecloud_gate_requests_total", namespace),
      errors("homecloud_gate_requests_total", namespace),
      {
        title: "Failed logins in 15 minutes",
        type: "timeseries",
        width: 12,
        unit: "short",
        queries: [
          { expr: `sum(increase(homecloud_gate_failed_logins_total${only}[15m]))`, legend: "wrong, or over the limit" },
        ],
      },
      {
        title: "Uploads",
        type: "timeseries",
        width: 12,
        unit: "short",
        queries: [
          { expr: gauge("writers"), legend: "under way" },
          { expr: gauge("uploads"), legend: "begun and not ended, abandoned ones too" },
        ],
      },
    ],
  };
}

function localstackRow(namespace: string): Row {
  const only = `{namespace="${namespace}"}`;
  const gauge = (name: string) => `homecloud_localstack_${name}${only}`;
  const byService = (name: string) => ({
    expr: `sum by (service) (rate(homecloud_localstack_${name}${only}[$__rate_interval]))`,
    legend: "{{service}}",
  });
  return {
    title: "LocalStack",
    panels: [
      health(gauge("healthy")),
      usedShare(gauge("used_bytes"), gauge("limit_bytes")),
      storage(gauge("used_bytes"), gauge("limit_bytes"), gauge("disk_free_bytes")),
      requests("homecloud_localstack_requests_total", namespace),
      errors("homecloud_localstack_requests_total", namespace),
      {
        title: "Requests by service",
        type: "timeseries",
        width: 8,
        unit: "reqps",
        queries: [byService("service_requests_total")],
      },
      {
        title: "Answers of 500 and above by service",
        type: "timeseries",
        width: 8,
        unit: "reqps",
        queries: [byService("service_errors_total")],
      },
      {
        title: "Services",
        type: "table",
        width: 8,
        unit: "short",
        queries: [{ expr: `max by (service, state) (${gauge("service_state")}) == 1`, legend: "" }],
        more: {
          transformations: [{ id: "organize", options: { excludeByName: { Time: true, Value: true } } }],
        },
      },
    ],
  };
}

const health = (expr: string): PanelParts => ({
  title: "Health",
  type: "stat",
  width: 3,
  unit: "short",
  // No series at all is a pod that is not there.
  queries: [{ expr: `max(${expr}) or vector(0)`, legend: "" }],
  defaults: {
    mappings: [
      {
        type: "value",
        options: { 0: { text: "down", color: "red", index: 0 }, 1: { text: "well", color: "green", index: 1 } },
      },
    ],
    thresholds: steps(["red", null], ["green", 1]),
  },
  more: { options: { ...LAST_VALUE, colorMode: "background", graphMode: "none" } },
});

const usedShare = (used: string, limit: string): PanelParts => ({
  title: "Storage used",
  type: "gauge",
  width: 5,
  unit: "percentunit",
  queries: [{ expr: `max(${used} / ${limit})`, legend: "" }],
  defaults: { min: 0, max: 1, thresholds: steps(["green", null], ["orange", 0.8], ["red", 0.95]) },
  more: { options: LAST_VALUE },
});

const storage = (used: string, limit: string, free: string): PanelParts => ({
  title: "Storage",
  type: "timeseries",
  width: 16,
  unit: "bytes",
  queries: [
    { expr: `max(${used})`, legend: "used" },
    { expr: `max(${limit})`, legend: "limit" },
    { expr: `max(${free})`, legend: "left on the node's disk" },
  ],
});

const requests = (counter: string, namespace: string): PanelParts => ({
  title: "Requests by class of status",
  type: "timeseries",
  width: 12,
  unit: "reqps",
  queries: [
    {
      expr: `sum by (class) (rate(${counter}{namespace="${namespace}"}[$__rate_interval]))`,
      legend: "{{class}}",
    },
  ],
});

/** A share of no requests is no number, and shown as none. */
const errors = (counter: string, namespace: string): PanelParts => ({
  title: "Share of answers of 500 and above",
  type: "timeseries",
  width: 12,
  unit: "percentunit",
  queries: [
    {
      expr:
        `sum(rate(${counter}{namespace="${namespace}",class="5xx"}[$__rate_interval]))` +
        ` / sum(rate(${counter}{namespace="${namespace}"}[$__rate_interval]))`,
      legend: "errors",
    },
  ],
  defaults: { min: 0 },
});

const LAST_VALUE = { reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false } };

const steps = (...colors: [string, number | null][]) => ({
  mode: "absolute",
  steps: colors.map(([color, value]) => ({ color, value })),
});

/** Rows below each other, and in each as many panels beside each other as its columns hold. */
function place(rows: Row[]): Panel[] {
  const panels: Panel[] = [];
  let y = 0;
  for (const row of rows) {
    panels.push({
      id: panels.length + 1,
      type: "row",
      title: row.title,
      collapsed: false,
      gridPos: { x: 0, y, w: COLUMNS, h: 1 },
      panels: [],
    });
    y += 1;
    let x = 0;
    for (const parts of row.panels) {
      if (x + parts.width > COLUMNS) {
        x = 0;
        y += PANEL_HEIGHT;
      }
      panels.push(panel(panels.length + 1, parts, { x, y, w: parts.width, h: PANEL_HEIGHT }));
      x += parts.width;
    }
    y += PANEL_HEIGHT;
  }
  return panels;
}

function panel(id: number, parts: PanelParts, gridPos: Panel["gridPos"]): Panel {
  const { title, type, unit, queries, defaults, more } = parts;
  const isTable = type === "table";
  return {
    id,
    type,
    title,
    gridPos,
    datasource: DATA_SOURCE,
    fieldConfig: { defaults: { unit, ...defaults }, overrides: [] },
    targets: queries.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode("A".charCodeAt(0) + index),
      datasource: DATA_SOURCE,
      expr,
      ...(isTable ? { format: "table", instant: true } : { legendFormat: legend }),
    })),
    ...more,
  };
}
