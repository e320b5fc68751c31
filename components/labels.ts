/** Labels by which everything of this program is found in a cluster. */
export function labelsOf(name: string): Record<string, string> {
  return {
    "app.kubernetes.io/name": name,
    "app.kubernetes.io/part-of": "homecloud",
    "app.kubernetes.io/managed-by": "pulumi",
  };
}

/** The labels that select pods: a Deployment's selector can never change, so it holds the least. */
export function selectorOf(name: string): Record<string, string> {
  return { "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "homecloud" };
}

/** The same, as a query. */
export const selects = (name: string): string => `app.kubernetes.io/name=${name},${PART_OF}`;

/** Selects everything of this program. */
export const PART_OF = "app.kubernetes.io/part-of=homecloud";

/** Names the stack that a namespace belongs to: the provider that takes a kept one back would take any other's as well. */
export const STACK_ANNOTATION = "homecloud/stack";
