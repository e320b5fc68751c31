import { readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { debianRoot, libraryPath } from "../debian.ts";
import { exists } from "../files.ts";
import { folder, programWithLibraries, withParents } from "../images/shared-libraries.ts";
import type { TarEntry } from "../images/tar.ts";
import { labDir } from "../paths.ts";
import { type ToolName, unpackedProgram } from "../tools.ts";

/** Debian's Docker and what it runs, by their places in the image. */
const PROGRAMS = {
  dockerd: "usr/bin/dockerd",
  docker: "usr/bin/docker",
  "docker-proxy": "usr/bin/docker-proxy",
  tini: "usr/bin/docker-init",
  containerd: "usr/bin/containerd",
  "containerd-shim-runc-v2": "usr/bin/containerd-shim-runc-v2",
  runc: "usr/bin/runc",
  "xtables-nft-multi": "usr/sbin/xtables-nft-multi",
  "xtables-legacy-multi": "usr/sbin/xtables-legacy-multi",
} as const satisfies Partial<Record<ToolName, string>>;

const NAMES = Object.keys(PROGRAMS) as (keyof typeof PROGRAMS)[];

const entrypoint = join(labDir, "dind", "dockerd-entrypoint.sh");
const LEGACY = "usr/local/sbin/.iptables-legacy";

/** What the files below are made from. */
export async function dindSources(): Promise<string[]> {
  return [entrypoint, ...(await Promise.all(NAMES.map(unpackedProgram)))];
}

/** Docker as in Docker's own dind image, beside busybox. */
export async function dindFiles(): Promise<TarEntry[]> {
  return [
    ...["usr/local/bin", LEGACY, "usr/sbin", "var/lib", "run"].flatMap(withParents).map(folder),
    ...(await programs()),
    ...iptables("usr/sbin", "xtables-nft-multi"),
    ...iptables(LEGACY, "/usr/sbin/xtables-legacy-multi"),
    ...(await iptablesModules()),
    { path: "var/run", linkTo: "../run" },
    { path: "usr/local/bin/dockerd-entrypoint.sh", mode: 0o755, content: await readFile(entrypoint) },
    { path: "etc/os-release", content: "NAME=homecloud-lab\nVERSION_ID=1\n" },
    // Docker looks its group up by name before it takes it for a number.
    { path: "etc/group", content: "root:x:0:\n" },
    // Else "localhost" is asked of DNS before /etc/hosts is read, by every process that Docker starts.
    { path: "etc/nsswitch.conf", content: "hosts: files dns\n" },
    { path: "etc/passwd", content: "root:x:0:0:root:/root:/bin/sh\n" },
  ];
}

async function programs(): Promise<TarEntry[]> {
  const entries: TarEntry[] = [];
  for (const name of NAMES) entries.push(...(await programWithLibraries(name, PROGRAMS[name])));
  return entries;
}

function iptables(path: string, program: string): TarEntry[] {
  const names = ["iptables", "ip6tables"].flatMap((family) => [family, `${family}-save`, `${family}-restore`]);
  return names.map((name) => ({ path: `${path}/${name}`, linkTo: program }));
}

/** What iptables loads for each kind of match and target, where it looks for it. */
async function iptablesModules(): Promise<TarEntry[]> {
  const entries: TarEntry[] = [];
  for (const libraries of (await libraryPath()).split(":")) {
    const source = join(libraries, "xtables");
    if (!(await exists(source))) continue;
    const target = source.slice(debianRoot.length + 1);
    entries.push(...withParents(target).map(folder));
    for (const name of await readdir(source)) entries.push(await moduleEntry(join(source, name), `${target}/${name}`));
  }
  return entries;
}

async function moduleEntry(source: string, path: string): Promise<TarEntry> {
  const link = await readlink(source).catch(() => undefined);
  return link === undefined ? { path, mode: 0o755, content: await readFile(source) } : { path, linkTo: link };
}
