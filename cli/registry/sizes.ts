import type { Descriptor, RegistryClient } from "./client.ts";
import { platformName, readConfig } from "./image.ts";

/** What a tag stands for, and what a pull of it brings. */
export interface ImageSize {
  digest: string;
  /** Bytes of all its blobs, each counted once; of a list of images those of every platform. */
  size: number;
  /** For example `linux/amd64`. */
  platforms: string[];
}

/** Size and platforms of an image, by tag or digest. */
export async function sizeOf(registry: RegistryClient, repository: string, reference: string): Promise<ImageSize> {
  const manifest = await registry.manifest(repository, reference);
  if (!manifest.manifests) {
    const platform = await readConfig(registry, repository, manifest.config);
    return { digest: manifest.digest, size: total(blobsOf(manifest)), platforms: [platformName(platform)] };
  }
  const parts = await Promise.all(manifest.manifests.map(({ digest }) => registry.manifest(repository, digest)));
  return {
    digest: manifest.digest,
    size: total(parts.flatMap(blobsOf)),
    // Attestations stand in an index as images of no platform.
    platforms: manifest.manifests
      .map(({ platform }) => platformName(platform ?? {}))
      .filter((name) => !/unknown/.test(name)),
  };
}

const blobsOf = ({ config, layers = [] }: { config?: Descriptor; layers?: Descriptor[] }): Descriptor[] => [
  ...(config ? [config] : []),
  ...layers,
];

const total = (blobs: Descriptor[]): number =>
  [...new Map(blobs.map(({ digest, size }) => [digest, size])).values()].reduce((sum, size) => sum + size, 0);
