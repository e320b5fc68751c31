import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { execa } from "execa";
import { LabError } from "./error.ts";
import { exists, readIfThere, sha256, writeIfChanged } from "./files.ts";
import { inCache, labDir } from "./paths.ts";
import { COREDNS, KUBERNETES, LOCAL_PATH_PROVISIONER, REGISTRY } from "./versions.ts";

/**
 * A program built from Go modules: `module@version` for a published one, `source` for a folder in here with a go.mod. What
 * is built there is the folder's own program, or `program` of one of its modules, with a file of the folder's in place of one
 * of a module's.
 */
export type GoBuild = PublishedBuild | SourceBuild;

interface PublishedBuild {
  module: string;
  ldflags: string;
}

interface SourceBuild {
  source: string;
  program?: string;
  ldflags: string;
  replaced?: ReplacedFile;
}

interface ReplacedFile {
  /** Module path, without a version. */
  module: string;
  /** Within the module. */
  file: string;
  /** Within the build's folder. */
  by: string;
}

const component = "k8s.io/component-base/version";
const [, major, minor] = /^v(\d+)\.(\d+)/.exec(KUBERNETES) ?? [];

export const GO_BUILDS = {
  kube: {
    source: "kube",
    ldflags: `-s -w -X ${component}.gitVersion=${KUBERNETES} -X ${component}.gitMajor=${major} -X ${component}.gitMinor=${minor}`,
  },
  pause: { source: "pause", ldflags: "-s -w" },
  coredns: { module: `github.com/coredns/coredns@${COREDNS}`, ldflags: "-s -w" },
  "local-path-provisioner": {
    module: `github.com/rancher/local-path-provisioner@${LOCAL_PATH_PROVISIONER}`,
    ldflags: "-s -w",
  },
  registry: { module: `github.com/distribution/distribution/v3/cmd/registry@${REGISTRY}`, ldflags: "-s -w" },
  k3s: { source: "k3s", ldflags: "-s -w" },
  "lambda-init": { source: "lambda/init", ldflags: "-s -w" },
  traefik: {
    source: "traefik",
    program: "github.com/traefik/traefik/v3/cmd/traefik",
    ldflags: "-s -w",
    replaced: {
      module: "github.com/go-acme/lego/v5",
      file: "providers/dns/zz_gen_dns_providers.go",
      by: "lego/zz_gen_dns_providers.go",
    },
  },
  crictl: { source: "crictl", program: "sigs.k8s.io/cri-tools/cmd/crictl", ldflags: "-s -w" },
} as const satisfies Record<string, GoBuild>;

export type GoBuildName = keyof typeof GO_BUILDS;

/** Where the build of this name is. */
export const builtPath = (name: GoBuildName): string => inCache("built", name);

/** Builds of these names that are not there, or were made from other sources. */
export async function missingBuilds(names: readonly GoBuildName[]): Promise<GoBuildName[]> {
  const missing: GoBuildName[] = [];
  for (const name of names) {
    const built = (await exists(builtPath(name))) && (await readIfThere(inputsPath(name)));
    if (built !== (await describeInputs(GO_BUILDS[name]))) missing.push(name);
  }
  return missing;
}

export async function buildGo(name: GoBuildName, report: (line: string) => void): Promise<void> {
  report(name === "kube" ? `building Kubernetes ${KUBERNETES} (some ten minutes, once)` : `building ${name}`);
  const inputs = await describeInputs(GO_BUILDS[name]);
  await compile(name, GO_BUILDS[name]);
  await writeIfChanged(inputsPath(name), inputs);
}

const inputsPath = (name: GoBuildName): string => inCache("built", `${name}.inputs`);

async function describeInputs(build: GoBuild): Promise<string> {
  if ("module" in build) return `${build.module} ${build.ldflags}`;
  const folder = join(labDir, build.source);
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  const contents = await Promise.all(files.sort().map((file) => readFile(file)));
  return sha256(Buffer.concat(contents)) + build.ldflags;
}

async function compile(name: GoBuildName, build: GoBuild): Promise<void> {
  const folder = inCache("built", "go");
  await mkdir(folder, { recursive: true });
  const target = "source" in build ? ["build", "-o", join(folder, name)] : ["install"];
  const replaced = "source" in build && build.replaced;
  const modfile = replaced ? [`-modfile=${await modfileOf(name, build, replaced)}`] : [];
  const program = "source" in build ? (build.program ?? ".") : build.module;
  await go(name, build, ...target, "-buildvcs=false", "-ldflags", build.ldflags, ...modfile, program);
  await rename(join(folder, name), builtPath(name));
}

/** A go.mod that takes a module from a copy with one file replaced: Go lets no overlay touch its own module cache. */
async function modfileOf(name: GoBuildName, build: SourceBuild, replaced: ReplacedFile): Promise<string> {
  const { source } = build;
  const downloaded = JSON.parse(await go(name, build, "mod", "download", "-json", replaced.module)) as { Dir: string };
  const copy = inCache("built", "go", `${name}-${basename(downloaded.Dir)}`);
  await rm(copy, { recursive: true, force: true });
  await execa("cp", ["--recursive", "--no-preserve=mode", downloaded.Dir, copy]);
  await copyFile(join(labDir, source, replaced.by), join(copy, replaced.file));
  const modfile = inCache("built", "go", `${name}.mod`);
  const own = await readFile(join(labDir, source, "go.mod"), "utf8");
  await writeFile(modfile, `${own}\nreplace ${replaced.module} => ${copy}\n`);
  await copyFile(join(labDir, source, "go.sum"), inCache("built", "go", `${name}.sum`));
  return modfile;
}

/** Runs Go for a build, in its folder. Returns what it printed. */
async function go(name: GoBuildName, build: GoBuild, ...args: string[]): Promise<string> {
  const cwd = "source" in build ? join(labDir, build.source) : labDir;
  const options = { cwd, env: goEnv(inCache("built", "go")), reject: false } as const;
  const { failed, stdout, stderr } = await execa("nice", ["-n", "10", "go", ...args], options);
  if (failed) throw new LabError(`go could not build ${name}: ${stderr.trim()}`);
  return stdout;
}

/** Without cgo no C compiler is needed, and the program runs in an image that has no libc. */
function goEnv(folder: string): Record<string, string> {
  return { CGO_ENABLED: "0", GOBIN: folder, GOWORK: "off", PATH: goPath() };
}

/** sudo's PATH lacks the folder that Go's own installation uses. */
export const goPath = (): string => `${process.env.PATH ?? ""}:/usr/local/go/bin`;
