import { performance } from "node:perf_hooks";
import type { Outcome } from "./client-process.ts";
import { cpuUseBetween, type PodCpuUse, readCpuUse } from "./cpu-use.ts";
import { insist } from "./insist.ts";
import type { Kubectl } from "./kubectl.ts";
import { login, type Measure, type Tools } from "./measures.ts";
import type { System } from "./system.ts";

/** One measured run. */
export interface Sample extends Outcome {
  round: number;
  measure: Measure;
  system: System;
  /** Of each container of the system's pod. */
  cpu: PodCpuUse;
}

export interface Plan {
  systems: System[];
  measures: Measure[];
  rounds: number;
  /** Seconds that one measure of one system may take over all rounds; three runs it gets anyway. */
  cellSeconds: number;
  /** Seconds after which no further round begins. */
  totalSeconds: number;
}

const FEWEST_RUNS = 3;

/** A lab that others use too may lose a pod under a run; a registry that does not work must not look as if it did. */
const MOST_FAILURES = 4;

/**
 * Runs every measure on every system, system after system, so that whatever else the machine does meets all of them. The
 * order turns with each round. One round before them is not counted. Samples are added as they come, so that a run that is
 * stopped or fails has what it measured.
 */
export async function runPlan(
  plan: Plan,
  tools: Tools,
  samples: Sample[],
  { kubectl, stop, report }: { kubectl: Kubectl; stop: AbortSignal; report: (line: string) => void },
): Promise<void> {
  const start = performance.now();
  let failures = 0;
  for (let round = 0; round <= plan.rounds; round++) {
    if (round > 1 && performance.now() - start > plan.totalSeconds * 1000) break;
    for (const measure of plan.measures) {
      for (const system of turned(plan.systems, round)) {
        stop.throwIfAborted();
        if (measure.appliesTo && !measure.appliesTo(system)) continue;
        if (round === 0 && measure.isLong) continue;
        if (isUsedUp(samples, measure, system, plan.cellSeconds)) continue;
        const outcome = await runOnce(measure, system, tools, kubectl).catch(async (error: unknown) => {
          stop.throwIfAborted();
          failures += 1;
          report(`not counted: ${measure.title}, ${system.name}: ${error}`);
          if (failures > MOST_FAILURES) throw error;
          await recover(system, kubectl);
          return undefined;
        });
        if (!outcome) continue;
        const sample = { ...outcome, round, measure, system };
        if (round > 0) samples.push(sample);
        report(
          `${round === 0 ? "warm-up" : `round ${round}`}  ${measure.title}, ${system.name}: ${sample.seconds.toFixed(3)} s`,
        );
      }
    }
  }
}

async function runOnce(measure: Measure, system: System, tools: Tools, kubectl: Kubectl) {
  await (measure.prepare ?? login)(system, tools);
  const before = await readCpuUse(kubectl, system.namespace, system.selector);
  const outcome = await measure.run(system, tools);
  const after = await readCpuUse(kubectl, system.namespace, system.selector);
  return { ...outcome, cpu: cpuUseBetween(before, after) };
}

/** Waits for the pod and deletes what the failed run left, which would make the next one look at an existing layer. */
async function recover(system: System, kubectl: Kubectl): Promise<void> {
  const pods = ["-n", system.namespace, "wait", "--for=condition=Ready", "pod", "-l", system.selector];
  await insist(async () => {
    await kubectl([...pods, "--timeout=60s"]);
    await system.wipe();
  });
}

/** Whether the next run of this measure would take it over its time. */
function isUsedUp(samples: Sample[], measure: Measure, system: System, cellSeconds: number): boolean {
  const own = samples.filter((sample) => sample.measure === measure && sample.system === system);
  const seconds = own.reduce((sum, sample) => sum + sample.seconds, 0);
  return own.length >= FEWEST_RUNS && seconds * (1 + 1 / own.length) > cellSeconds;
}

function turned<T>(values: T[], by: number): T[] {
  const first = by % values.length;
  return [...values.slice(first), ...values.slice(0, first)];
}
