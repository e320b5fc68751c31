import { mkdir, readdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { LabError } from "./error.ts";
import { exists, readIfThere, sha256, writeIfChanged } from "./files.ts";
import { inCache, labDir } from "./paths.ts";
import { COREDNS, KUBERNETES, LOCAL_PATH_PROVISIONER, REGISTRY } from "./versions.ts";

/**
 * A program built from Go modules: `module@version` for a published one, `source` for a folder in here with a go.mod. What
 * is built there is the folder's own program, or `program` of one of its modules.
 */
export type GoBuild = { ldflags: string } & ({ module: string } | { source: string; program?: string });

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
  const files = (await readdir(folder)).sort();
  const contents = await Promise.all(files.map((file) => readFile(join(folder, file))));
  return sha256(Buffer.concat(contents)) + build.ldflags;
}

async function compile(name: GoBuildName, build: GoBuild): Promise<void> {
  const folder = inCache("built", "go");
  await mkdir(folder, { recursive: true });
  const target = "source" in build ? ["build", "-o", join(folder, name)] : ["install"];
  const flags = ["-buildvcs=false", "-ldflags", build.ldflags];
  const { failed, stderr } = await execa(
    "nice",
    ["-n", "10", "go", ...target, ...flags, "source" in build ? (build.program ?? ".") : build.module],
    { cwd: "source" in build ? join(labDir, build.source) : labDir, env: goEnv(folder), reject: false },
  );
  if (failed) throw new LabError(`go could not build ${name}: ${stderr.trim()}`);
  await rename(join(folder, name), builtPath(name));
}

/** Without cgo no C compiler is needed, and the program runs in an image that has no libc. */
function goEnv(folder: string): Record<string, string> {
  return { CGO_ENABLED: "0", GOBIN: folder, GOWORK: "off", PATH: goPath() };
}

/** sudo's PATH lacks the folder that Go's own installation uses. */
export const goPath = (): string => `${process.env.PATH ?? ""}:/usr/local/go/bin`;
