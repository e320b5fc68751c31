import { POD_LAYOUT, STATE_FILES } from "../../components/registry/layout.ts";
import { readMetrics } from "../status/read.ts";
import { bytes } from "../units.ts";
import { type Criterion, fail, needed, type Outcome, pass } from "./criterion.ts";
import { pushTo, randomBlob } from "./image.ts";
import type { Run } from "./run.ts";

/** So much is stored to see it counted: more than anything else that is likely to happen meanwhile. */
export const COUNTED = 16 * 2 ** 20;

/** How long the walk over a large volume on a slow disk may take, in seconds. */
export const WALK = 60;

export const quota: Criterion = {
  id: "quota",
  title: "The registry's quota counts what is pushed, and the gate goes by it",
  limit: "counted and enforced",
  patience: WALK + 30,
  measure: async (run) =>
    await measureQuota(run, {
      workload: "registry",
      namespace: run.deployment.registry.namespace,
      counter: "quota",
      flags: [STATE_FILES.full, STATE_FILES.over].map((file) => `if (-f ${POD_LAYOUT.state}/${file}) {`),
      store: async () => void (await pushTo(run, "quota", await randomBlob(COUNTED))),
    }),
};

export interface Quota {
  workload: "registry" | "localstack";
  namespace: string;
  /** The container that measures. */
  counter: string;
  /** Lines by which the gate looks at what that says. */
  flags: string[];
  /** Stores COUNTED bytes. */
  store(): Promise<void>;
}

/**
 * That nothing more is taken when it is full would show only by filling it. Instead each link is looked at: what is stored
 * is counted, the limit is the deployment's, and the gate, which serves these very figures, looks for the flag beside them.
 */
export async function measureQuota(run: Run, quota: Quota): Promise<Outcome> {
  const before = await figures(run, quota);
  if (!before) return fail("its metrics do not answer", "is the pod ready? See homecloud status");
  const set = await limitOf(run, quota);
  if (before.limit !== set)
    return fail(`the limit is ${bytes(before.limit)}, and ${bytes(set)} was set`, "run pulumi up");
  const missing = await unasked(run, quota);
  if (missing.length > 0)
    return fail("the gate does not ask", `its gate.conf lacks: ${missing.join(" ")}: run pulumi up`);
  if (before.full) return pass(`full: ${bytes(before.used)} of ${bytes(before.limit)}, new writes are refused`);
  await needed("storing something", quota.store());
  const after = await counted(run, quota, before);
  if (!after)
    return fail(`${bytes(COUNTED)} were stored, and not counted in ${WALK} s`, `see the log of ${quota.counter}`);
  return pass(`${bytes(after.used)} of ${bytes(after.limit)} used, ${bytes(COUNTED)} counted`);
}

interface Figures {
  used: number;
  limit: number;
  full: boolean;
  /** When they were written, by the node's clock. */
  written: number;
}

async function figures(run: Run, { workload, namespace }: Quota): Promise<Figures | undefined> {
  const metrics = await readMetrics(run.kube, workload, namespace);
  const value = (name: string) => metrics.get(`homecloud_${workload}_${name}`);
  const [used, limit, written] = [value("used_bytes"), value("limit_bytes"), value("metrics_timestamp_seconds")];
  if (used === undefined || limit === undefined || written === undefined) return undefined;
  return { used, limit, written, full: value("full") === 1 };
}

/** Until the figures are new and have what was stored in them. Undefined where they never are. */
async function counted(run: Run, quota: Quota, before: Figures): Promise<Figures | undefined> {
  for (const end = Date.now() + WALK * 1000; Date.now() < end; await run.pause(500)) {
    const now = await figures(run, quota);
    // Less than all of it: something else may have been deleted meanwhile.
    if (now && now.written > before.written && now.used > before.used + 0.75 * COUNTED) return now;
  }
  return undefined;
}

/** The limit that the deployment was given, in bytes. */
async function limitOf({ kube }: Run, { workload: name, namespace, counter }: Quota): Promise<number> {
  const deployment = await kube.ask(`the Deployment ${name}`, kube.apps.readNamespacedDeployment({ name, namespace }));
  const container = deployment?.spec?.template.spec?.containers.find((each) => each.name === counter);
  return Number(container?.env?.find((each) => each.name === "LIMIT")?.value);
}

async function unasked({ kube }: Run, { workload, namespace, flags }: Quota): Promise<string[]> {
  const pod = await kube.podOf(namespace, workload);
  if (!pod) throw new Error(`${workload} has no pod`);
  const configuration = await kube.run(pod, "gate", ["cat", `${POD_LAYOUT.config}/gate.conf`]);
  return flags.filter((flag) => !configuration.includes(flag));
}
