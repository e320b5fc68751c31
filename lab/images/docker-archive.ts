import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
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
  ExposedPorts?: Record<string, object>;
  Volumes?: Record<string, object>;
}

export interface Image {
  ref: string;
  config: ImageConfig;
  files: TarEntry[];
}

/** The image as `docker save` writes it: one layer, the same bytes for the same image. */
export function dockerArchive({ ref, config, files }: Image, architecture: string): Buffer {
  const layer = tar(files);
  const about = describe(ref, config, architecture, sha256(layer));
  return tar([...about, { path: LAYER, content: layer }]);
}

/** The same of a root folder too large for memory, which `tar` reads: owners and modes are the folder's, times are not. */
export async function packFolder(
  { ref, config, root }: { ref: string; config: ImageConfig; root: string },
  architecture: string,
  archive: string,
): Promise<void> {
  const folder = `${archive}.parts`;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder);
  const layer = join(folder, LAYER);
  await execa("tar", [...REPRODUCIBLE, "--create", "--file", layer, "--directory", root, "."]);
  const about = describe(ref, config, architecture, await sha256OfFile(layer));
  for (const { path, content } of about) await writeFile(join(folder, path), content);
  await execa("tar", [
    ...REPRODUCIBLE,
    "--create",
    "--file",
    join(folder, "archive"),
    "--directory",
    folder,
    LAYER,
    ...about.map(({ path }) => path),
  ]);
  await rename(join(folder, "archive"), archive);
  await rm(folder, { recursive: true });
}

const LAYER = "layer.tar";
const REPRODUCIBLE = ["--sort=name", "--mtime=@0", "--numeric-owner"];

function describe(ref: string, config: ImageConfig, architecture: string, layer: string) {
  const rootfs = { type: "layers", diff_ids: [`sha256:${layer}`] };
  const description = JSON.stringify({ architecture, os: "linux", config, rootfs });
  const name = `${sha256(description)}.json`;
  const manifest = JSON.stringify([{ Config: name, RepoTags: [ref], Layers: [LAYER] }]);
  return [
    { path: name, content: description },
    { path: "manifest.json", content: manifest },
  ];
}

async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** Go's and the image format's name for the processor that Node calls x64 or arm64. */
export const architecture = process.arch === "x64" ? "amd64" : process.arch;
