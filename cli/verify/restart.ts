import { isReady } from "../cluster/kube.ts";
import type { Run } from "./run.ts";

/** How long a pod may take to end and to come back, in seconds: LocalStack has 90 to save a large state. */
export const PATIENCE = 300;

/** Deletes a workload's pod, and waits until its successor serves. Returns for how many milliseconds nobody answered. */
export async function restart(
  run: Run,
  { namespace, name }: { namespace: string; name: "registry" | "localstack" },
  serves: () => Promise<boolean>,
): Promise<number> {
  const { kube } = run;
  const pod = await kube.podOf(namespace, name);
  if (!pod || !isReady(pod)) throw new Error(`${name} has no pod that is ready`);
  await kube.core.deleteNamespacedPod({ namespace, name: pod.metadata?.name ?? "" });
  let answered = performance.now();
  let longest = 0;
  // Until the new pod is the one that answers: the old one does so until it has ended.
  for (let isBack = false; ; await run.pause(200)) {
    if (await serves().catch(() => false)) {
      longest = Math.max(longest, performance.now() - answered);
      answered = performance.now();
      if (isBack) return longest;
    }
    const now = await kube.podOf(namespace, name);
    isBack = now !== undefined && isReady(now) && now.metadata?.uid !== pod.metadata?.uid;
  }
}
