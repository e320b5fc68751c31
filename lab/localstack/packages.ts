import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { aptSettings } from "../debian.ts";
import { LabError } from "../error.ts";

/**
 * apt in a folder of its own that takes the machine for empty: packages come with all that they need, libc included, so
 * that an image depends on nothing that happens to be installed here. The release may be newer than the machine's.
 */
export async function prepareApt(folder: string): Promise<void> {
  for (const name of ["lists/partial", "cache/archives/partial"]) await mkdir(join(folder, name), { recursive: true });
  const { stdout: targets } = await execa("apt-get", [
    "indextargets",
    "--format",
    INDEX_TARGET,
    "Created-By: Packages",
  ]);
  const release = codenameIn(await readFile("/etc/os-release", "utf8"));
  await writeFile(join(folder, "sources.list"), sourcesFor(targets, release, imageRelease(release)));
  await writeFile(join(folder, "status"), "");
  await writeFile(join(folder, "apt.conf"), settings(folder));
  await apt(folder, "update");
}

/** Unpacks the packages and what they need into the root folder, but for what an earlier call has. */
export async function unpackInto(root: string, folder: string, packages: readonly string[]): Promise<void> {
  const archives = join(folder, "cache", "archives");
  const before = await readdir(archives);
  await apt(folder, "install", "--download-only", "--no-install-recommends", ...packages);
  const files = (await readdir(archives)).filter((file) => file.endsWith(".deb") && !before.includes(file));
  await mkdir(root, { recursive: true });
  // base-files first: it says that /bin is /usr/bin, where others only have files.
  files.sort((a, b) => Number(b.startsWith("base-files")) - Number(a.startsWith("base-files")));
  for (const file of files) await execa("dpkg-deb", ["--extract", join(archives, file), root]);
}

async function apt(folder: string, ...args: string[]): Promise<void> {
  const options = ["-c", join(folder, "apt.conf"), "--quiet", "--yes"];
  const { failed, stderr } = await execa("apt-get", [...options, ...args], { reject: false });
  if (failed) throw new LabError(`apt-get ${args[0]} failed for LocalStack's image: ${stderr.trim()}`);
}

const INDEX_TARGET = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(SIGNED_BY)";

/** The first release after the machine's with Python 3.12, which LocalStack's code is written in. */
const NEWER: Record<string, string> = { bookworm: "trixie", jammy: "noble" };

export const imageRelease = (machine: string): string => NEWER[machine] ?? machine;

export function codenameIn(osRelease: string): string {
  return /^VERSION_CODENAME="?([\w-]+)/m.exec(osRelease)?.[1] ?? "";
}

/** The machine's own sources of its distribution, said of another release. Third parties' are left out. */
export function sourcesFor(indexTargets: string, machine: string, release: string): string {
  const lines = indexTargets.split("\n").flatMap((target) => {
    const [uri, suite = "", component, key] = target.split(" ");
    if (suite !== machine && !suite.startsWith(`${machine}-`)) return [];
    const option = key?.startsWith("/") ? `[signed-by=${key}] ` : "";
    return [`deb ${option}${uri} ${release}${suite.slice(machine.length)} ${component}\n`];
  });
  return [...new Set(lines)].join("");
}

function settings(folder: string): string {
  return `${aptSettings(folder)}Dir::State::status "${folder}/status";
Dir::Etc::sourcelist "${folder}/sources.list";
Dir::Etc::sourceparts "-";
`;
}
