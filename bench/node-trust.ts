import { parseArgs } from "node:util";
import { rolloutGroups } from "../components/node-trust/rollout.ts";
import type { NodeSpec } from "../tests/nodes/fleet.ts";
import { Homelab } from "../tests/nodes/homelab.ts";
import type { Run } from "../tests/nodes/small-engine.ts";
import { nodeTools } from "../tests/tools.ts";
import { median } from "./statistics.ts";

/**
 * How long a roll-out of NodeTrust takes, by number of nodes: measured on test nodes (root; lab/README.md says what they are),
 * and by simulation with the nodes' own times. The restart of K3s is a stand-in's: its length is a setting of each row.
 */
const USAGE = "npm run bench:nodes -- [--batch 3] [--restarts 0.3,10]";

const { values } = parseArgs({
  options: { batch: { type: "string", default: "3" }, restarts: { type: "string", default: "0.3,10" } },
});
const batch = Number(values.batch);
const restarts = values.restarts.split(",").map(Number);
if (![batch, ...restarts].every((number) => number > 0)) {
  console.error(USAGE);
  process.exit(2);
}

/** Nodes of a cluster of this size: one server, or three from five nodes on. */
function cluster(size: number): NodeSpec[] {
  const servers = size < 5 ? 1 : 3;
  return Array.from({ length: size }, (_, index) =>
    index < servers
      ? { name: `server-${index + 1}`, role: "server" }
      : { name: `agent-${index + 1 - servers}`, role: "agent" },
  );
}

interface Measured {
  seconds: number;
  /** Of each node by itself. */
  nodes: number[];
}

const lasted = (runs: Run[]): Measured => ({
  seconds: (Math.max(...runs.map(({ ended }) => ended)) - Math.min(...runs.map(({ began }) => began))) / 1000,
  nodes: runs.map(({ began, ended }) => (ended - began) / 1000),
});

/** A first roll-out, and one that finds everything as it is. */
async function measure(size: number, restart: number): Promise<{ first: Measured; again: Measured }> {
  const homelab = await Homelab.start(await nodeTools(), cluster(size));
  try {
    for (const node of homelab.fleet.nodes) await node.startDelay(restart * 1000);
    const program = { settings: { batch, timeLimits: { restart: 180, proof: 180 } } };
    const up = async () => {
      homelab.forgetState();
      const runs = await homelab.up(program);
      const failed = runs.find(({ ok }) => !ok);
      if (failed) throw new Error(`${failed.node}: ${failed.output}`);
      return lasted(runs);
    };
    return { first: await up(), again: await up() };
  } finally {
    await homelab.stop();
  }
}

/** Each group lasts as long as its slowest node; nodes take what measured ones took, drawn at random. */
function simulate(size: number, times: number[]): number {
  const draw = () => times[Math.floor(Math.random() * times.length)] ?? 0;
  const once = () => rolloutGroups(cluster(size), batch).reduce((sum, group) => sum + Math.max(...group.map(draw)), 0);
  return median(Array.from({ length: 1000 }, once));
}

const shown = (seconds: number) => (seconds < 60 ? `${seconds.toFixed(1)} s` : `${(seconds / 60).toFixed(1)} min`);
const row = (...cells: (string | number)[]) => `| ${cells.join(" | ")} |`;

const SIZES = [1, 3, 6, 12];
/** What a run on one node takes beside the start of K3s, and when there is nothing to change. */
const overheads: number[] = [];
const unchanged: number[] = [];
const rows: string[] = [];

for (const restart of restarts) {
  for (const size of SIZES) {
    const { first, again } = await measure(size, restart);
    overheads.push(...first.nodes.map((seconds) => seconds - restart));
    unchanged.push(...again.nodes);
    const simulated = simulate(size, first.nodes);
    rows.push(row(size, `${restart} s`, shown(first.seconds), shown(simulated), shown(again.seconds)));
    console.error(rows.at(-1));
  }
}
for (const restart of [10, 30, 60]) {
  const simulated = simulate(
    100,
    overheads.map((seconds) => seconds + restart),
  );
  rows.push(row(100, `${restart} s`, "–", shown(simulated), `${shown(simulate(100, unchanged))}, simulated`));
}
console.log(`${new Date().toISOString()}, batches of ${batch}, ${overheads.length} nodes measured\n`);
console.log(row("nodes", "K3s starts in", "first roll-out", "simulated", "nothing to change"));
console.log(row("---", "---", "---", "---", "---"));
console.log(rows.join("\n"));
