import { mkdir, readdir, unlink } from "node:fs/promises";
import { execa } from "execa";
import { LabError } from "./error.ts";
import { readIfThere, writeIfChanged } from "./files.ts";
import { inCache } from "./paths.ts";

/** Debian packages are unpacked below here and run from here. Nothing is installed, no service starts. */
export const debianRoot = inCache("debian", "root");
const unpackedList = inCache("debian", "unpacked.json");

/** Unpacks the packages, with the libraries of theirs that this machine lacks. */
export async function unpackPackages(packages: string[], report: (line: string) => void): Promise<void> {
  if (packages.length === 0) return;
  report(`downloading ${packages.join(", ")}`);
  await download(packages);
  await unpack();
  await writeIfChanged(unpackedList, JSON.stringify([...(await unpackedPackages()), ...packages].sort()));
}

async function download(packages: string[]): Promise<void> {
  const settings = inCache("debian", "apt.conf");
  for (const folder of ["lists/partial", "cache/archives/partial", "root"])
    await mkdir(inCache("debian", folder), { recursive: true });
  await writeIfChanged(settings, aptSettings(inCache("debian")));
  const apt = (...args: string[]) => execa("apt-get", ["-c", settings, "--quiet", "--yes", ...args], { reject: false });
  // A third-party source that does not answer is no reason to stop: the download tells whether the rest was enough.
  await apt("update");
  const known = await Promise.all(packages.map((names) => firstKnown(settings, names)));
  // --reinstall: else a package that the machine has would not be downloaded at all.
  const options = ["--download-only", "--reinstall", "--allow-change-held-packages", "--no-install-recommends"];
  const { failed, stderr } = await apt("install", ...options, ...known);
  if (failed) throw new LabError(`apt-get could not download ${known.join(", ")}: ${stderr.trim()}`);
}

/** Of `new|old` the name that this release has. */
async function firstKnown(settings: string, names: string): Promise<string> {
  const alternatives = names.split("|");
  for (const name of alternatives) {
    const { failed } = await execa("apt-cache", ["-c", settings, "show", name], { reject: false });
    if (!failed) return name;
  }
  return names;
}

/** Packages of these that are still to be downloaded. */
export async function missingPackages(packages: readonly string[]): Promise<string[]> {
  const unpacked = await unpackedPackages();
  return packages.filter((name) => !unpacked.includes(name));
}

async function unpackedPackages(): Promise<string[]> {
  return JSON.parse((await readIfThere(unpackedList)) ?? "[]") as string[];
}

/** apt with folders of our own. It reads the real dpkg status, so libc and friends count as present. */
export function aptSettings(folder: string): string {
  return `Dir::State::lists "${folder}/lists";
Dir::Cache "${folder}/cache";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Sandbox::User "root";
// Nothing is installed, so dpkg's lock is neither needed nor waited for.
Debug::NoLocking "true";
// Hooks would act on the machine: Docker's Debian images delete /var/cache/apt/archives, desktops refresh theirs.
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
`;
}

async function unpack(): Promise<void> {
  const archives = inCache("debian", "cache", "archives");
  const files = (await readdir(archives)).filter((file) => file.endsWith(".deb"));
  for (const file of files) {
    await execa("dpkg-deb", ["--extract", `${archives}/${file}`, debianRoot]);
    await unlink(`${archives}/${file}`);
  }
  // Nothing is installed: no program in here may give anybody root's rights.
  await execa("find", [debianRoot, "-type", "f", "-perm", "/6000", "-exec", "chmod", "ug-s", "{}", "+"]);
}

/** Folders with unpacked shared libraries: `/lib` and `/usr/lib` differ before Debian 13. */
export async function libraryPath(): Promise<string> {
  const folders: string[] = [];
  for (const parent of [`${debianRoot}/usr/lib`, `${debianRoot}/lib`]) {
    const names = await readdir(parent).catch(() => []);
    folders.push(...names.filter((name) => name.endsWith("-linux-gnu")).map((name) => `${parent}/${name}`));
  }
  return folders.join(":");
}
