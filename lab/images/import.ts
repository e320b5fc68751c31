import { mkdir, readdir, rename, stat, unlink, writeFile } from "node:fs/promises";
import { join, parse } from "node:path";
import { execa } from "execa";
import { exists, readIfThere, sha256, writeIfChanged } from "../files.ts";
import { withLock } from "../lock.ts";
import { containerdSocket, inCache, inState } from "../paths.ts";
import { type Report, tools } from "../tools.ts";
import { functionRecipes, type Recipe, recipes } from "./catalog.ts";
import { architecture, dockerArchive } from "./docker-archive.ts";

/** To be raised when images are put together in another way, which their sources do not show. */
const FORMAT = "2";

/** Makes the images whose sources changed; returns every archive by reference. */
export async function buildImages(report: Report): Promise<Map<string, string>> {
  const archives = new Map<string, string>();
  for (const recipe of await recipes()) archives.set(recipe.ref, await buildImage(recipe, inCache("images"), report));
  return archives;
}

/** Makes the images that functions run in; returns the folder of their archives, which holds nothing else. */
export async function buildFunctionImages(report: Report): Promise<string> {
  const folder = inCache("function-images");
  for (const recipe of await functionRecipes()) await buildImage(recipe, folder, report);
  return folder;
}

async function buildImage(recipe: Recipe, folder: string, report: Report): Promise<string> {
  await mkdir(folder, { recursive: true });
  const archive = join(folder, `${recipe.ref.replaceAll(/[/:]/g, "_")}-${await inputsOf(recipe)}.tar`);
  if (await exists(archive)) return archive;
  // Labs with states of their own share the cache.
  await withLock(folder, report, async () => {
    if (await exists(archive)) return;
    report(`making ${recipe.ref}`);
    if ("write" in recipe) await recipe.write(`${archive}.part`, report);
    else await writeFile(`${archive}.part`, dockerArchive(await recipe.make(), architecture));
    await rename(`${archive}.part`, archive);
    await deleteOthers(archive);
  });
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
  if ("inputs" in recipe) return sha256(JSON.stringify([FORMAT, recipe.inputs])).slice(0, 12);
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
