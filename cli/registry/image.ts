import { plainLine } from "../plain.ts";
import type { Descriptor, Manifest, RegistryClient } from "./client.ts";

/** An image, with every platform that it has. */
export interface ImageDetails {
  digest: string;
  mediaType: string;
  platforms: PlatformDetails[];
}

export interface PlatformDetails {
  /** For example `linux/amd64`. */
  name: string;
  digest: string;
  created: string | undefined;
  /** What runs: entry point and arguments. */
  command: string[];
  layers: Descriptor[];
}

/** As much of an image's configuration as is shown. Source: https://github.com/opencontainers/image-spec/blob/main/config.md */
interface ImageConfig {
  os?: string;
  architecture?: string;
  variant?: string;
  created?: string;
  config?: { Entrypoint?: string[] | null; Cmd?: string[] | null };
}

/** Reads an image by tag or digest. What is no image of a platform (a signature, a chart) has its layers alone. */
export async function readImage(
  registry: RegistryClient,
  repository: string,
  reference: string,
): Promise<ImageDetails> {
  const { digest, mediaType, manifests, ...image } = await registry.manifest(repository, reference);
  const parts = manifests
    ? await Promise.all(manifests.map((part) => registry.manifest(repository, part.digest)))
    : [{ digest, mediaType, ...image }];
  const platforms = await Promise.all(parts.map((part) => readPlatform(registry, repository, part)));
  return { digest, mediaType, platforms };
}

async function readPlatform(registry: RegistryClient, repository: string, part: Manifest): Promise<PlatformDetails> {
  const { digest, config, layers = [] } = part;
  const told = await readConfig(registry, repository, config);
  const { Entrypoint, Cmd } = told.config ?? {};
  return {
    name: platformName(told),
    digest,
    created: told.created ? plainLine(String(told.created)) : undefined,
    command: [...(Entrypoint ?? []), ...(Cmd ?? [])],
    layers,
  };
}

/** An image's configuration; empty for what is no image: a chart's or an artifact's need not be JSON. */
export async function readConfig(
  registry: RegistryClient,
  repository: string,
  config: Descriptor | undefined,
): Promise<ImageConfig> {
  const isImage = config !== undefined && /image\.(config\.)?v1\+json$/.test(config.mediaType);
  return isImage ? await registry.json<ImageConfig>(repository, config.digest) : {};
}

/** `linux/arm64/v8`; `unknown` for what has no platform. */
export function platformName({ os, architecture, variant }: Omit<ImageConfig, "config" | "created">): string {
  return os && architecture ? plainLine([os, architecture, variant].filter(Boolean).join("/")) : "unknown";
}
