import { createReadStream } from "node:fs";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { V1Pod } from "@kubernetes/client-node";
import { isReady, type Kube } from "../cluster/kube.ts";
import type { Workload } from "../deployment.ts";
import { UserError } from "../errors.ts";
import type { Run } from "./run.ts";

const SCRIPT = new URL("forget.sh", import.meta.url);

/** How long a pod that was restarted just now may take to come back, in milliseconds. */
const PATIENCE = 60_000;

/** Removes the run's images and those that killed runs have left, layers and all, without a garbage collection. */
export async function forgetImages({ kube, deployment, name }: Run): Promise<void> {
  const pod = await podInService(kube, deployment.registry);
  // Scaled to 0: nothing can have been pushed to it, and what an earlier pod has, a later run finds.
  if (!pod) return;
  const stderr = new PassThrough();
  const complaint = text(stderr);
  const code = await kube.exec(pod, "registry", ["sh", "-s", "--", name], { stdin: createReadStream(SCRIPT), stderr });
  stderr.end();
  if (code !== 0) throw new UserError((await complaint).trim() || `forget.sh ended with ${code}`);
}

/** The registry's pod; one that does not get ready has a container to run the script in all the same. */
async function podInService(kube: Kube, { namespace }: Workload): Promise<V1Pod | undefined> {
  const name = "registry";
  const deployment = await kube.ask(name, kube.apps.readNamespacedDeployment({ name, namespace }));
  for (const end = Date.now() + PATIENCE; ; await sleep(500)) {
    const pod = await kube.podOf(namespace, name);
    if ((pod && isReady(pod)) || deployment?.spec?.replicas === 0 || Date.now() > end) return pod;
  }
}
