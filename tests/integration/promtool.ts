import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import type { RuleGroup } from "../../components/monitoring/rules.ts";

/** Series by name with labels, and their values in promtool's notation, one a minute: `1x10 stale _x4 1x10`. */
export type Series = Record<string, string>;

/** An alert as promtool expects it. */
export interface ExpectedAlert {
  exp_labels: Record<string, string>;
  exp_annotations: Record<string, string>;
}

/** What is to be so at a time, for example `15m`. */
export interface Moment {
  at: string;
  /** `ALERT severity` of all that fire; nothing else may. */
  firing?: string[];
  /** The whole of one alert, with its texts. */
  alert?: { name: string; expected: ExpectedAlert[] };
}

/** What promtool printed and how it ended. */
interface Ended {
  all: string;
  exitCode: number | undefined;
}

/** Prometheus' own checker of rules, and its simulator of what they do over time. */
export class Promtool {
  private readonly program: string;
  /** Of the files that the next run reads. */
  private readonly folders: string[] = [];

  constructor(program: string) {
    this.program = program;
  }

  /** Whether Prometheus would load these rules. */
  async check(groups: object[]): Promise<Ended> {
    return this.run("check", "rules", "--lint-fatal", await this.file("rules.yml", { groups }));
  }

  /** Evaluates the rules over these series, each `every` so often, and compares. */
  async simulate(groups: RuleGroup[], series: Series, moments: Moment[], every = "1m"): Promise<Ended> {
    const rules = await this.file("rules.yml", { groups });
    const tests = await this.file("tests.yml", {
      rule_files: [rules],
      evaluation_interval: every,
      tests: [
        {
          interval: every,
          input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
          promql_expr_test: moments.flatMap(({ at, firing }) => (firing ? [firingTest(at, firing)] : [])),
          alert_rule_test: moments.flatMap(({ at, alert }) =>
            alert ? [{ eval_time: at, alertname: alert.name, exp_alerts: alert.expected }] : [],
          ),
        },
      ],
    });
    return this.run("test", "rules", tests);
  }

  private async file(name: string, content: object): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), "homecloud-promtool-"));
    this.folders.push(folder);
    const path = join(folder, name);
    // JSON is YAML.
    await writeFile(path, JSON.stringify(content));
    return path;
  }

  private async run(...args: string[]): Promise<Ended> {
    const { all, exitCode } = await execa(this.program, args, { all: true, reject: false });
    for (const folder of this.folders.splice(0)) await rm(folder, { recursive: true });
    return { all, exitCode };
  }
}

const firingTest = (at: string, firing: string[]) => ({
  eval_time: at,
  expr: 'count by (alertname, severity) (ALERTS{alertstate="firing"})',
  exp_samples: firing.map((text) => {
    const [name, severity] = text.split(" ");
    return { labels: `{alertname="${name}",severity="${severity}"}`, value: 1 };
  }),
});
