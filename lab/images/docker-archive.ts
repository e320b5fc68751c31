import { sha256 } from "../files.ts";
import { type TarEntry, tar } from "./tar.ts";

/** What an image tells its runtime, under the names of the OCI image configuration. */
export interface ImageConfig {
  Entrypoint?: string[];
  Cmd?: string[];
  Env?: string[];
  User?: string;
  WorkingDir?: string;
  StopSignal?: string;
}

export interface Image {
  ref: string;
  config: ImageConfig;
  files: TarEntry[];
}

/** The image as `docker save` writes it: one layer, the same bytes for the same image. */
export function dockerArchive({ ref, config, files }: Image, architecture: string): Buffer {
  const layer = tar(files);
  const description = JSON.stringify({
    architecture,
    os: "linux",
    config,
    rootfs: { type: "layers", diff_ids: [`sha256:${sha256(layer)}`] },
  });
  const name = `${sha256(description)}.json`;
  return tar([
    { path: name, content: description },
    { path: "layer.tar", content: layer },
    { path: "manifest.json", content: JSON.stringify([{ Config: name, RepoTags: [ref], Layers: ["layer.tar"] }]) },
  ]);
}

/** Go's and the image format's name for the processor that Node calls x64 or arm64. */
export const architecture = process.arch === "x64" ? "amd64" : process.arch;
