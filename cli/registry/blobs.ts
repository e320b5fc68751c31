import type { RegistryClient } from "./client.ts";

/** Every blob that a manifest needs, itself among them: digest to bytes. Manifests that were read are remembered in `known`. */
export async function blobsOf(
  registry: RegistryClient,
  repository: string,
  reference: string,
  known: Map<string, Map<string, number>> = new Map(),
): Promise<Map<string, number>> {
  const before = known.get(`${repository}@${reference}`);
  if (before) return before;
  const { digest, bytes, config, layers = [], manifests = [] } = await registry.manifest(repository, reference);
  const own = [...(config ? [config] : []), ...layers].map(({ digest, size }): [string, number] => [digest, size]);
  const parts = await Promise.all(manifests.map((part) => blobsOf(registry, repository, part.digest, known)));
  const all = new Map([[digest, bytes.length] as [string, number], ...own, ...parts.flatMap((part) => [...part])]);
  known.set(`${repository}@${digest}`, all);
  return all;
}
