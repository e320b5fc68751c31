import { TRUSTED_NODES } from "../../components/known-names.ts";
import type { Kube } from "./kube.ts";

/** Whether a node was proven to pull: ISO 8601, where the program says `never` of one that it could not try. */
export const isProven = (provenAt: string): boolean => /^\d{4}-/.test(provenAt);

/** Nodes that the last `up` has proven to pull by themselves; undefined where NodeTrust is off. */
export async function provenNodes(kube: Kube, namespace: string): Promise<string[] | undefined> {
  const told = await kube.ask(
    "the trusted nodes",
    kube.core.readNamespacedConfigMap({ name: TRUSTED_NODES, namespace }),
  );
  const nodes = told && Object.entries(told.data ?? {});
  return nodes?.filter(([, provenAt]) => isProven(provenAt)).map(([name]) => name);
}
