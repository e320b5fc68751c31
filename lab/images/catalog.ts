import { readFile } from "node:fs/promises";
import { execa } from "execa";
import { DEFAULT_IMAGES } from "../../components/images.ts";
import { dindFiles, dindSources } from "../dind/files.ts";
import { builtPath, type GoBuildName } from "../go-builds.ts";
import { NODE_RUNTIME, runtimeFiles, runtimeSources } from "../lambda/runtime-files.ts";
import { type Report, unpackedProgram } from "../tools.ts";
import type { Image } from "./docker-archive.ts";
import { localStackRecipe } from "./localstack.ts";
import { nginxFiles } from "./nginx-files.ts";
import { LAB_IMAGES } from "./refs.ts";
import { programWithLibraries } from "./shared-libraries.ts";
import type { TarEntry } from "./tar.ts";

/** How an image is made, and what tells whether it must be made again. */
export type Recipe = FileRecipe | LargeRecipe;

interface FileRecipe {
  ref: string;
  /** Files that it is made from. */
  sources: string[];
  make(): Promise<Image>;
}

/** Of an image too large for memory: it writes its archive itself. */
export interface LargeRecipe {
  ref: string;
  /** Stands for the content of everything that it is made from. */
  inputs: string;
  write(archive: string, report: Report): Promise<void>;
}

/** Alpine's busybox has flock, which the registry's scripts use; Debian's has not. */
const flockFiles = () => programWithLibraries("flock", "usr/bin/flock");

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Every image of the lab. Each stands in, under the original's name, for one that no registry can be asked for. */
export async function recipes(): Promise<Recipe[]> {
  const busybox = await unpackedProgram("busybox");
  const goImage = (ref: string, name: GoBuildName, config: Image["config"], withShell = true): FileRecipe => ({
    ref,
    sources: [builtPath(name), ...(withShell ? [busybox] : [])],
    make: async () => {
      const program: TarEntry = { path: `bin/${name}`, mode: 0o755, content: await readFile(builtPath(name)) };
      const base = withShell ? await baseFiles() : [{ path: "bin", folder: true } as const];
      return { ref, config: { Env: [PATH], ...config }, files: [...base, program] };
    },
  });
  return [
    goImage(LAB_IMAGES.pause, "pause", { Entrypoint: ["/bin/pause"], User: "65535:65535" }, false),
    {
      ref: LAB_IMAGES.busybox,
      sources: [busybox],
      make: async () => ({ ref: LAB_IMAGES.busybox, config: { Cmd: ["sh"], Env: [PATH] }, files: await baseFiles() }),
    },
    goImage(LAB_IMAGES.coredns, "coredns", { Entrypoint: ["/bin/coredns"] }),
    goImage(LAB_IMAGES.localPath, "local-path-provisioner", { Entrypoint: ["/bin/local-path-provisioner"] }),
    await withFlock(
      goImage(DEFAULT_IMAGES.registry, "registry", {
        Entrypoint: ["/bin/registry"],
        Cmd: ["serve", "/etc/distribution/config.yml"],
      }),
    ),
    {
      ref: DEFAULT_IMAGES.nginx,
      sources: [busybox, await unpackedProgram("flock"), await unpackedProgram("nginx")],
      make: async () => ({
        ref: DEFAULT_IMAGES.nginx,
        config: {
          Entrypoint: ["/docker-entrypoint.sh"],
          Cmd: ["nginx", "-g", "daemon off;"],
          Env: [PATH],
          User: "101",
          // As the original: nginx ends requests that are under way before it goes.
          StopSignal: "SIGQUIT",
        },
        files: [...(await baseFiles()), ...(await flockFiles()), ...(await nginxFiles())],
      }),
    },
    {
      ref: DEFAULT_IMAGES.dind,
      sources: [busybox, ...(await dindSources())],
      make: async () => ({
        ref: DEFAULT_IMAGES.dind,
        config: { Entrypoint: ["dockerd-entrypoint.sh"], Env: [PATH] },
        files: [...(await baseFiles()), ...(await dindFiles())],
      }),
    },
    await localStackRecipe(),
  ];
}

/** What functions run in: for the Docker in LocalStack's pod, not for the cluster. */
export async function functionRecipes(): Promise<Recipe[]> {
  return [
    {
      ref: NODE_RUNTIME,
      sources: [await unpackedProgram("busybox"), ...runtimeSources],
      make: async () => ({
        ref: NODE_RUNTIME,
        config: { Env: [PATH], WorkingDir: "/var/task" },
        files: [...(await baseFiles()), ...(await runtimeFiles())],
      }),
    },
  ];
}

async function withFlock(recipe: FileRecipe): Promise<FileRecipe> {
  const make = async () => {
    const image = await recipe.make();
    return { ...image, files: [...image.files, ...(await flockFiles())] };
  };
  return { ...recipe, sources: [...recipe.sources, await unpackedProgram("flock")], make };
}

/** busybox under all its names. */
async function baseFiles(): Promise<TarEntry[]> {
  const busybox = await unpackedProgram("busybox");
  const { stdout } = await execa(busybox, ["--list"]);
  const applets = stdout.split("\n").filter((applet) => applet !== "busybox" && applet !== "");
  return [
    { path: "bin", folder: true },
    { path: "etc", folder: true },
    { path: "tmp", folder: true, mode: 0o1777 },
    { path: "bin/busybox", mode: 0o755, content: await readFile(busybox) },
    ...applets.map((applet) => ({ path: `bin/${applet}`, linkTo: "busybox" })),
  ];
}
