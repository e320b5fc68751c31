import { mkdir, readdir, rename, stat, unlink, writeFile } from "node:fs/promises";
import { join, parse } from "node:path";
import { execa } from "execa";
import { exists, readIfThere, sha256, writeIfChanged } from "../files.ts";
import { containerdSocket, inCache, inState } from "../paths.ts";
import { type Report, tools } from "../tools.ts";
import { type Recipe, recipes } from "./catalog.ts";
import { architecture, dockerArchive } from "./docker-archive.ts";

/** To be raised when images are put together in another way, which their sources do not show. */
const FORMAT = "2";

/** Makes the images whose sources changed; returns every archive by reference. */
export async function buildImages(report: Report): Promise<Map<string, string>> {
  await mkdir(inCache("images"), { recursive: true });
  const archives = new Map<string, string>();
  for (const recipe of await recipes()) archives.set(recipe.ref, await buildImage(recipe, report));
  return archives;
}

async function buildImage(recipe: Recipe, report: Report): Promise<string> {
  const archive = inCache("images", `${recipe.ref.replaceAll(/[/:]/g, "_")}-${await inputsOf(recipe)}.tar`);
  if (await exists(archive)) return archive;
  report(`making ${recipe.ref}`);
  const image = await recipe.make();
  await writeFile(`${archive}.part`, dockerArchive(image, architecture));
  await rename(`${archive}.part`, archive);
  await deleteOthers(archive);
  return archive;
}

/** Deletes the archives that the same image had from other sources: they differ in the twelve digits at the end. */
async function deleteOthers(archive: string): Promise<void> {
  const { dir, name } = parse(archive);
  const image = name.slice(0, -12);
  for (const file of await readdir(dir))
    if (file.startsWith(image) && file !== `${name}.tar`) await unlink(join(dir, file));
}

/** Size and time of the sources instead of their content: reading 200 MB at every start takes longer than the rest. */
async function inputsOf(recipe: Recipe): Promise<string> {
  const sources = await Promise.all(
    recipe.sources.map(async (path) => {
      const { size, mtimeMs } = await stat(path);
      return [path, size, mtimeMs];
    }),
  );
  return sha256(JSON.stringify([FORMAT, sources])).slice(0, 12);
}

/** Gives containerd the images that it has not got, or has from other sources. */
export async function importImages(archives: Map<string, string>, report: Report): Promise<void> {
  const present = new Set((await ctr("images", "list", "--quiet")).split("\n"));
  const note = inState("imported-images.json");
  const imported = JSON.parse((await readIfThere(note)) ?? "{}") as Record<string, string>;
  for (const [ref, archive] of archives) {
    if (present.has(ref) && imported[ref] === archive) continue;
    report(`importing ${ref}`);
    await importImage(archive);
    imported[ref] = archive;
  }
  await writeIfChanged(note, JSON.stringify(imported, null, 2));
}

/** Imports a docker-archive or OCI archive into the cluster's containerd, for pods with `imagePullPolicy: IfNotPresent`. */
export async function importImage(archive: string): Promise<void> {
  await ctr("images", "import", archive);
}

async function ctr(...args: string[]): Promise<string> {
  const { stdout } = await execa(tools().bin("ctr"), ["--address", containerdSocket, "--namespace", "k8s.io", ...args]);
  return stdout;
}
