import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import type { RuleGroup } from "../../components/monitoring/rules.ts";
import type { ServiceMonitorSpec } from "../../components/monitoring/service-monitor.ts";
import { freePort } from "../ports.ts";

/** Where the pages of a ServiceMonitor are found from this machine, and what the operator would label them with. */
export interface Target {
  monitor: ServiceMonitorSpec;
  /** `host:port`. */
  address: string;
  /** What stands before the page's path. Defaults to nothing. */
  prefix?: string;
  labels: Record<string, string>;
}

/** An alert as Prometheus has it: pending, or firing. */
export interface ActiveAlert {
  labels: Record<string, string>;
  annotations: Record<string, string>;
  state: "pending" | "firing";
}

/** As much of its process as is used. */
interface Running extends Promise<unknown> {
  kill(): boolean;
}

/** A real Prometheus on this machine's loopback, which looks each second. */
export class Prometheus {
  private readonly process: Running;
  private readonly folder: string;
  private readonly url: string;

  private constructor(process: Running, folder: string, url: string) {
    this.process = process;
    this.folder = folder;
    this.url = url;
  }

  static async start(program: string, targets: Target[], groups: RuleGroup[]): Promise<Prometheus> {
    const folder = await mkdtemp(join(tmpdir(), "homecloud-prometheus-"));
    const file = async (name: string, content: object) => {
      await writeFile(join(folder, name), JSON.stringify(content));
      return join(folder, name);
    };
    const rules = await file("rules.yml", { groups: groups.map(hastened) });
    const config = await file("prometheus.yml", {
      global: { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" },
      rule_files: [rules],
      scrape_configs: targets.flatMap(scrapeConfigs),
    });
    const listen = `127.0.0.1:${await freePort()}`;
    const options = [
      `--config.file=${config}`,
      `--web.listen-address=${listen}`,
      `--storage.tsdb.path=${folder}/data`,
      "--log.level=warn",
    ];
    const log = { file: join(folder, "log") };
    const process = execa(program, options, { stdin: "ignore", stdout: log, stderr: log, reject: false });
    const prometheus = new Prometheus(process, folder, `http://${listen}`);
    const pages = targets.flatMap(({ monitor }) => monitor.endpoints).length;
    await prometheus.until(async () => (await prometheus.query("up == 1")).length === pages, 60, "every page is read");
    return prometheus;
  }

  async alerts(): Promise<ActiveAlert[]> {
    return (await this.ask<{ alerts: ActiveAlert[] }>("alerts")).alerts;
  }

  /** `ALERT severity` of all that fire, in order. */
  async firing(): Promise<string[]> {
    const firing = (await this.alerts()).filter(({ state }) => state === "firing");
    return firing.map(({ labels }) => `${labels.alertname} ${labels.severity}`).toSorted();
  }

  /** Until exactly these fire, and nothing else. */
  async untilFiring(expected: string[], seconds: number): Promise<void> {
    let last: string[] = [];
    const same = async () => {
      last = await this.firing();
      return JSON.stringify(last) === JSON.stringify(expected.toSorted());
    };
    await this.until(same, seconds, () => `${expected.join(", ") || "nothing"} fires, but: ${last.join(", ")}`);
  }

  /** The values that an expression has now, by their labels. */
  async query(expr: string): Promise<{ metric: Record<string, string>; value: number }[]> {
    const { result } = await this.ask<{ result: { metric: Record<string, string>; value: [number, string] }[] }>(
      `query?query=${encodeURIComponent(expr)}`,
    );
    return result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
  }

  async stop(): Promise<void> {
    this.process.kill();
    await this.process;
    await rm(this.folder, { recursive: true });
  }

  private async ask<T>(path: string): Promise<T> {
    const answer = await fetch(`${this.url}/api/v1/${path}`);
    const { status, data, error } = (await answer.json()) as { status: string; data: T; error?: string };
    if (status !== "success") throw new Error(error);
    return data;
  }

  private async until(
    condition: () => Promise<boolean>,
    seconds: number,
    what: string | (() => string),
  ): Promise<void> {
    for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(250)) {
      if (await condition().catch(() => false)) return;
    }
    throw new Error(`not after ${seconds} s: ${typeof what === "string" ? what : what()}; see ${this.folder}/log`);
  }
}

/** Nobody waits five minutes here: how long an alert must last is for promtool's simulator to show. */
const hastened = (group: RuleGroup): RuleGroup => ({
  ...group,
  rules: group.rules.map((rule) => (rule.for ? { ...rule, for: "2s" } : rule)),
});

/** What the operator makes of a ServiceMonitor, but for how it finds the pods. */
function scrapeConfigs({ monitor, address, prefix = "", labels }: Target): object[] {
  return monitor.endpoints.map(({ path, honorLabels, relabelings }) => ({
    job_name: `${address}${prefix}${path}`,
    metrics_path: `${prefix}${path}`,
    honor_labels: honorLabels,
    static_configs: [{ targets: [address], labels }],
    relabel_configs: relabelings.map(({ action, sourceLabels, targetLabel }) => ({
      action,
      source_labels: sourceLabels,
      target_label: targetLabel,
    })),
  }));
}
