import { mkdir, readlink, symlink, unlink } from "node:fs/promises";
import { join } from "node:path";
import { debianRoot, libraryPath, missingPackages, unpackPackages } from "./debian.ts";
import { LabError } from "./error.ts";
import { exists, writeIfChanged } from "./files.ts";
import { buildGo, builtPath, type GoBuildName, missingBuilds } from "./go-builds.ts";
import { withLock } from "./lock.ts";
import { makeMarkedFolder } from "./marked-folder.ts";
import { POD_CIDR, SERVICE_CIDR } from "./network.ts";
import { cacheDir, inCache } from "./paths.ts";
import { checkToolsCanBeMade } from "./preflight.ts";
import { renderWrapper, type Wrapper } from "./wrappers.ts";

export type Report = (line: string) => void;

/** Programs from Debian, and the package of each. */
const DEBIAN_TOOLS = {
  containerd: "containerd",
  "containerd-shim-runc-v2": "containerd",
  ctr: "containerd",
  runc: "runc",
  dockerd: "docker.io",
  "docker-proxy": "docker.io",
  tini: "tini",
  // Of its own from Debian 13 on.
  docker: "docker-cli|docker.io",
  etcd: "etcd-server",
  bridge: "containernetworking-plugins",
  "xtables-nft-multi": "iptables",
  "xtables-legacy-multi": "iptables",
  conntrack: "conntrack",
  ethtool: "ethtool",
  socat: "socat",
  busybox: "busybox-static",
  flock: "util-linux",
  nginx: "nginx",
  skopeo: "skopeo",
  shellcheck: "shellcheck",
  openssl: "openssl",
  ssh: "openssh-client",
  "ssh-keygen": "openssh-client",
  sshd: "openssh-server",
  sudo: "sudo",
  curl: "curl",
  ps: "procps",
  dnsmasq: "dnsmasq-base",
  aws: "awscli",
  prometheus: "prometheus",
  promtool: "prometheus",
  zsh: "zsh",
  fish: "fish",
} as const;

/** Programs built from source, and the build of each. */
const GO_TOOLS = {
  "kube-apiserver": "kube",
  "kube-controller-manager": "kube",
  "kube-scheduler": "kube",
  "kube-proxy": "kube",
  kubelet: "kube",
  kubectl: "kube",
  pause: "pause",
  coredns: "coredns",
  "local-path-provisioner": "local-path-provisioner",
  registry: "registry",
  k3s: "k3s",
  crictl: "crictl",
  "lambda-init": "lambda-init",
  traefik: "traefik",
} as const satisfies Record<string, GoBuildName>;

/** What only test nodes have: nobody's lab waits for it. */
export const NODE_TOOLS = [
  "ssh",
  "ssh-keygen",
  "sshd",
  "sudo",
  "curl",
  "ps",
  "k3s",
  "crictl",
] as const satisfies ToolName[];

/** What only tests of LocalStack's clients have: the home network's DNS, and the AWS CLI. */
export const CLIENT_TOOLS = ["dnsmasq", "aws"] as const satisfies ToolName[];

/** What only tests of the monitoring have. */
export const MONITORING_TOOLS = ["prometheus", "promtool"] as const satisfies ToolName[];

/** What only tests of the way in through an ingress have. */
export const INGRESS_TOOLS = ["traefik"] as const satisfies ToolName[];

/** What only tests of the completion have, beside this machine's bash. */
export const SHELL_TOOLS = ["zsh", "fish"] as const satisfies ToolName[];

/** Programs that run in images and on test nodes only, and plugins. A `docker` of the machine's own stays what it is. */
const UNWRAPPED: readonly ToolName[] = [
  "bridge",
  "sshd",
  "sudo",
  "curl",
  "ps",
  "dockerd",
  "docker-proxy",
  "tini",
  "docker",
];

type DebianTool = keyof typeof DEBIAN_TOOLS;
type GoTool = keyof typeof GO_TOOLS;
export type ToolName = DebianTool | GoTool;

const ONLY_IN_TESTS: readonly ToolName[] = [
  ...NODE_TOOLS,
  ...CLIENT_TOOLS,
  ...MONITORING_TOOLS,
  ...INGRESS_TOOLS,
  ...SHELL_TOOLS,
];

export const ALL_TOOLS = [...Object.keys(DEBIAN_TOOLS), ...Object.keys(GO_TOOLS)] as ToolName[];

export const LAB_TOOLS = ALL_TOOLS.filter((name) => !ONLY_IN_TESTS.includes(name));

export interface Tools {
  /** Absolute path of a tool, ready to run: nginx, skopeo, registry, kubectl … */
  bin(name: string): string;
  /** This process's environment with the tools first on PATH. */
  env: NodeJS.ProcessEnv;
}

/** Folder of the CNI plugins, which run as they are. */
export const cniPlugins = join(debianRoot, "usr", "lib", "cni");

/** Downloads and builds the tools that are missing; starts nothing and needs no root. */
export async function prepareTools(report: Report = () => {}, names: readonly ToolName[] = LAB_TOOLS): Promise<Tools> {
  const debianTools = names.filter(isDebianTool);
  const goTools = names.filter(isGoTool);
  await makeMarkedFolder(cacheDir, 0o755);
  await withLock(cacheDir, report, async () => {
    const packages = await missingPackages(unique(debianTools.map((name) => DEBIAN_TOOLS[name])));
    const builds = await missingBuilds(unique(goTools.map((name) => GO_TOOLS[name])));
    await checkToolsCanBeMade({ debian: packages.length > 0, go: builds.length > 0 });
    await unpackPackages(packages, report);
    for (const build of builds) await buildGo(build, report);
    await mkdir(inCache("bin"), { recursive: true });
    await wrapDebianTools(debianTools);
    for (const name of goTools) await linkGoTool(name);
  });
  return tools();
}

/** The tools as they are, whether or not they were made. */
export function tools(): Tools {
  const path = `${inCache("bin")}:${process.env.PATH ?? "/usr/bin:/bin"}:/usr/sbin:/sbin`;
  return { bin: (name) => inCache("bin", name), env: { ...process.env, ...withoutProxy(process.env), PATH: path } };
}

/** A proxy of the machine's is for the world outside: the cluster's addresses are reached directly. */
export function withoutProxy(env: NodeJS.ProcessEnv): { NO_PROXY: string; no_proxy: string } {
  const inside = ["localhost", "127.0.0.0/8", POD_CIDR, SERVICE_CIDR, ".svc", ".cluster.local"];
  const value = [env.NO_PROXY ?? env.no_proxy, ...inside].filter(Boolean).join(",");
  return { NO_PROXY: value, no_proxy: value };
}

const unique = <T>(values: T[]): T[] => [...new Set(values)];

function isDebianTool(name: ToolName): name is DebianTool {
  return name in DEBIAN_TOOLS;
}

function isGoTool(name: ToolName): name is GoTool {
  return name in GO_TOOLS;
}

async function linkGoTool(name: GoTool): Promise<void> {
  const link = inCache("bin", name);
  const target = builtPath(GO_TOOLS[name]);
  if ((await readlink(link).catch(() => undefined)) === target) return;
  await unlink(link).catch(() => {});
  await symlink(target, link);
}

async function wrapDebianTools(names: DebianTool[]): Promise<void> {
  const libraries = await libraryPath();
  for (const name of names) {
    if (UNWRAPPED.includes(name)) continue;
    const program = await unpackedProgram(name);
    await writeWrapper(name, { program, libraryPath: libraries, ...(await extras(name)) });
  }
}

/**
 * Path of an unpacked program, else of this machine's own: apt downloads nothing where that is newer than all it
 * knows. Debian moved from /sbin to /usr/sbin program by program.
 */
export async function unpackedProgram(name: string): Promise<string> {
  for (const root of [debianRoot, "/"]) {
    for (const folder of ["usr/sbin", "usr/bin", "sbin", "bin"]) {
      const path = join(root, folder, name);
      if (await exists(path)) return path;
    }
  }
  throw new LabError(
    `${name} is in none of the packages that apt-get downloaded: delete ${inCache("debian")}, try again`,
  );
}

export async function writeWrapper(name: string, wrapper: Wrapper): Promise<void> {
  await writeIfChanged(inCache("bin", name), renderWrapper(wrapper), 0o755);
}

async function extras(name: DebianTool): Promise<Partial<Wrapper>> {
  // Else nginx complains of a log file that only an installed one has; an -e of the caller's comes later and wins.
  if (name === "nginx") return { args: ["-e", "stderr"] };
  if (name === "aws") {
    // A script for Debian's Python, whose modules are not where that looks.
    const env = { PYTHONPATH: join(debianRoot, "usr/lib/python3/dist-packages") };
    return { program: await unpackedProgram("python3"), args: [await unpackedProgram("aws")], env };
  }
  if (name !== "skopeo") return {};
  // skopeo refuses to copy without a policy, and Debian keeps that in /etc.
  const policy = inCache("skopeo", "policy.json");
  await writeIfChanged(policy, JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }));
  return { args: ["--policy", policy] };
}
