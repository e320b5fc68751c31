import type { Sample } from "./schedule.ts";
import { median } from "./statistics.ts";
import type { System } from "./system.ts";

/** What the registry is held to. */
interface Aim {
  says: string;
  /** What was measured. */
  measured(samples: Sample[]): number;
  unit: "s" | "times";
  atLeast?: number;
  atMost?: number;
}

const AIMS: Aim[] = [
  {
    says: "100 pushes at once: times the tutorial's rate",
    measured: (samples) => 1 / ratio(samples, "push-100", "tutorial"),
    unit: "times",
    atLeast: 20,
  },
  compared("100 pushes at once: times the time of no login", "push-100", 1.3),
  seconds("100 pushes at once", "push-100", 10),
  seconds("100 pushes at once, no login remembered", "push-100-cold", 10),
  seconds("one push of a small image", "push", 0.1),
  seconds("push of a 500 MB layer", "push-500mb", 10),
  compared("push of a 500 MB layer: times the time of no login", "push-500mb", 1.2),
  seconds("pull of a 500 MB layer", "pull-500mb", 10),
  compared("pull of a 500 MB layer: times the time of no login", "pull-500mb", 1.2),
];

/** A line for each aim that was measured. */
export function judgeAims(samples: Sample[]): string[] {
  return AIMS.flatMap(({ says, measured, unit, atLeast = 0, atMost = Number.POSITIVE_INFINITY }) => {
    const value = measured(samples);
    if (Number.isNaN(value)) return [];
    const verdict = value >= atLeast && value <= atMost ? "pass" : "MISS";
    const aim = atLeast > 0 ? `at least ${atLeast}` : `at most ${atMost}`;
    return [`${verdict}  ${says}: ${value.toFixed(2)}${unit === "s" ? " s" : ""} (${aim})`];
  });
}

function seconds(says: string, measure: string, atMost: number): Aim {
  const measured = (samples: Sample[]) => median(secondsOf(samples, measure, "homecloud").map(([, value]) => value));
  return { says, measured, unit: "s", atMost };
}

function compared(says: string, measure: string, atMost: number): Aim {
  return { says, measured: (samples) => ratio(samples, measure, "no login"), unit: "times", atMost };
}

/** Median over the rounds of our time by the other's: runs of one round met the machine in the same state. */
function ratio(samples: Sample[], measure: string, other: System["name"]): number {
  const others = new Map(secondsOf(samples, measure, other));
  const ratios = secondsOf(samples, measure, "homecloud").flatMap(([round, ours]) => {
    const theirs = others.get(round);
    return theirs === undefined ? [] : [ours / theirs];
  });
  return median(ratios);
}

function secondsOf(samples: Sample[], measure: string, system: System["name"]): [round: number, seconds: number][] {
  return samples
    .filter((sample) => sample.measure.id === measure && sample.system.name === system)
    .map((sample) => [sample.round, sample.seconds]);
}
