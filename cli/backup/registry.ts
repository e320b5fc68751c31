import type { V1Pod } from "@kubernetes/client-node";
import { isReady, type Kube } from "../cluster/kube.ts";
import { EXIT, UserError } from "../errors.ts";
import type { Place } from "./in-pod.ts";

/** Where the registry's data is moved. Throws a UserError where there is no pod that is ready. */
export async function registryPlace(kube: Kube, namespace: string): Promise<Place> {
  const pod = await kube.podOf(namespace, "registry");
  if (!pod || !isReady(pod)) {
    const state = pod
      ? `the registry's pod ${pod.metadata?.name} is not ready`
      : `the registry in ${namespace} has no pod`;
    throw new UserError(`${state}, and nothing was done: see homecloud status`, EXIT.unreachable);
  }
  return { kube, pod, container: "registry" };
}

export const registryImage = ({ spec }: V1Pod): string =>
  spec?.containers.find(({ name }) => name === "registry")?.image ?? "";
