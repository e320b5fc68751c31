import { mkdtemp, rm } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { loadSettings } from "../config/load.ts";
import { PROJECT } from "../config/project.ts";
import { runCommand } from "../lab/command.ts";
import { deployLocalStack, STACK } from "../lab/deploy/deploy.ts";
import { LabError, startLab } from "../lab/lab.ts";
import { readStackFile } from "../render/stack-file.ts";
import { judgeAims } from "./aims.ts";
import { deployBaselines, removeBaselines } from "./baselines.ts";
import { Client } from "./client.ts";
import { homecloud } from "./homecloud.ts";
import { insist } from "./insist.ts";
import { kubectlOn } from "./kubectl.ts";
import { makeLargeLayer } from "./large-layer.ts";
import { baselineResources } from "./limits.ts";
import { MEASURES } from "./measures.ts";
import { readOptions } from "./options.ts";
import { cpuTable, timeTable } from "./report.ts";
import { type Plan, runPlan, type Sample } from "./schedule.ts";
import type { System } from "./system.ts";

/** Bounds of the whole bench, in seconds. */
const CELL_SECONDS = 300;
const TOTAL_SECONDS = 1200;

/** `npm run bench`: three registries on the lab, the same work for each, and a table. */
await runCommand(async () => {
  const options = readOptions();
  const lab = await startLab();
  const { outputs } = await deployLocalStack(lab);
  const settings = loadSettings(await readStackFile(PROJECT, STACK)).registry;
  const resources = baselineResources(settings, options.podLimits);
  const kubectl = kubectlOn(lab);

  const stop = stopSignal();
  const folder = await mkdtemp(join(tmpdir(), "homecloud-bench-"));
  const client = new Client();
  stop.addEventListener("abort", () => client.end());
  const ours = homecloud(kubectl, settings.namespace, outputs);
  try {
    const all = [ours, ...(await deployBaselines(kubectl, resources))];
    const plan: Plan = {
      systems: all.filter(({ name }) => options.systems?.includes(name) ?? true),
      measures: MEASURES.filter(({ id }) => id.includes(options.measures)),
      rounds: options.runs,
      cellSeconds: CELL_SECONDS,
      totalSeconds: TOTAL_SECONDS,
    };
    console.log(`${machine()}; the other two have ${resources.limits.cpu} CPU and ${resources.limits.memory} each\n`);
    await wipe(plan.systems);
    const tools = { client, largeLayer: await makeLargeLayer(join(folder, "layer")) };
    const samples: Sample[] = [];
    try {
      await runPlan(plan, tools, samples, { kubectl, stop, report: (line) => console.error(line) });
    } finally {
      const parts = [timeTable(plan, samples), cpuTable(plan, samples), judgeAims(samples).join("\n"), machine()];
      console.log(`\n${parts.join("\n\n")}`);
    }
  } catch (error) {
    // Ctrl-C makes whatever was running fail in its own way.
    throw stop.aborted ? stop.reason : error;
  } finally {
    client.end();
    await cleanUp([
      rm(folder, { recursive: true, force: true }),
      insist(() => removeBaselines(kubectl)),
      insist(() => ours.wipe()),
    ]);
  }
});

/** Waits for every part; what fails is told, and does not hide why the bench ended. */
async function cleanUp(parts: Promise<void>[]): Promise<void> {
  for (const part of await Promise.allSettled(parts))
    if (part.status === "rejected") console.error(`not cleaned up: ${part.reason}`);
}

async function wipe(systems: System[]): Promise<void> {
  for (const system of systems) await system.wipe();
}

/** Ctrl-C ends the run and lets it clean up; a second one does not wait. */
function stopSignal(): AbortSignal {
  const stop = new AbortController();
  // Not `once`: a listener that is gone lets execa's own one end this process before anything is cleaned up.
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.on(name, () => {
      if (stop.signal.aborted) process.exit(1);
      stop.abort(new LabError("The bench was stopped; what it had deployed and pushed is gone."));
    });
  }
  return stop.signal;
}

function machine(): string {
  const [model] = cpus();
  const load = loadavg().map((value) => value.toFixed(1));
  return `${new Date().toISOString()}, ${cpus().length} cores (${model?.model}), Node ${process.version}, load ${load.join(" ")}`;
}
