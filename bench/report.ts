import type { Measure } from "./measures.ts";
import type { Plan, Sample } from "./schedule.ts";
import { median } from "./statistics.ts";
import type { System } from "./system.ts";

/** What each measure took: median, least and most, and how many runs that is. */
export function timeTable({ measures, systems }: Plan, samples: Sample[]): string {
  return table(
    ["", ...systems.map(({ name }) => name)],
    measures.flatMap((measure) => {
      const cells = (show: (own: Sample[]) => string) => systems.map((system) => show(of(samples, measure, system)));
      const rows = [[measure.title, ...cells((own) => spread(own.map(({ seconds }) => seconds)))]];
      const isMany = measure.id.startsWith("push-10");
      if (isMany)
        rows.push(["… median of one of them", ...cells((own) => spread(own.map(({ each }) => median(each))))]);
      return rows;
    }),
  );
}

/** Processor seconds of a run, medians: of the clients, of each container, and how long its CPU limit held that up. */
export function cpuTable({ measures, systems }: Plan, samples: Sample[]): string {
  return table(
    ["", "system", "clients", "containers"],
    measures.flatMap((measure) =>
      systems.flatMap((system) => {
        const own = of(samples, measure, system);
        if (own.length === 0) return [];
        const clients = median(own.map(({ cpuSeconds }) => cpuSeconds)).toFixed(2);
        return [[measure.title, system.name, clients, containers(own)]];
      }),
    ),
  );
}

function containers(own: Sample[]): string {
  const names = Object.keys(own[0]?.cpu ?? {});
  return names
    .map((name) => {
      const use = own.flatMap(({ cpu }) => cpu[name] ?? []);
      const throttled = median(use.map((one) => one.throttled));
      const waited = throttled < 0.05 ? "" : ` (held up ${throttled.toFixed(1)})`;
      return `${name} ${median(use.map((one) => one.seconds)).toFixed(2)}${waited}`;
    })
    .join(", ");
}

const of = (samples: Sample[], measure: Measure, system: System) =>
  samples.filter((sample) => sample.measure === measure && sample.system === system);

function spread(seconds: number[]): string {
  if (seconds.length === 0) return "–";
  const range = `${time(Math.min(...seconds))} to ${time(Math.max(...seconds))}`;
  return `**${time(median(seconds))}** (${range}; ${seconds.length} runs)`;
}

const time = (seconds: number) => (seconds < 1 ? `${(seconds * 1000).toFixed(0)} ms` : `${seconds.toFixed(1)} s`);

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
