import { readFile } from "node:fs/promises";
import { execa } from "execa";
import { DEFAULT_IMAGES } from "../../components/images.ts";
import { builtPath, type GoBuildName } from "../go-builds.ts";
import { unpackedProgram } from "../tools.ts";
import type { Image } from "./docker-archive.ts";
import { nginxFiles } from "./nginx-files.ts";
import { LAB_IMAGES } from "./refs.ts";
import { programWithLibraries } from "./shared-libraries.ts";
import type { TarEntry } from "./tar.ts";

/** Files that an image is made from, to tell whether it must be made again, and the making. */
export interface Recipe {
  ref: string;
  sources: string[];
  make(): Promise<Image>;
}

/** Alpine's busybox has flock, which the registry's scripts use; Debian's has not. */
const flockFiles = () => programWithLibraries("flock", "usr/bin/flock");

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Every image of the lab. Each stands in, under the original's name, for one that no registry can be asked for. */
export async function recipes(): Promise<Recipe[]> {
  const busybox = await unpackedProgram("busybox");
  const goImage = (ref: string, name: GoBuildName, config: Image["config"], withShell = true): Recipe => ({
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
  ];
}

async function withFlock(recipe: Recipe): Promise<Recipe> {
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
