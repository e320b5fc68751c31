/** Factors of the suffixes that Kubernetes allows on whole amounts of bytes. */
const FACTORS: Record<string, number> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** Form of an amount of bytes. */
export const QUANTITY = /^(\d+(?:\.\d+)?)(k|M|G|T|Ki|Mi|Gi|Ti)?$/;

/**
 * Bytes in a Kubernetes quantity such as `30Gi`, or undefined where the text is none. Stricter than Kubernetes, which
 * also takes `1e3` and `100m` bytes: neither is ever meant as a size of storage.
 * Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
 */
export function parseBytes(text: string): number | undefined {
  const match = QUANTITY.exec(text);
  if (!match) return undefined;
  return Math.floor(Number(match[1]) * (FACTORS[match[2] ?? ""] ?? 1));
}
