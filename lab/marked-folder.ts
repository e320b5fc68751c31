import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LabError } from "./error.ts";
import { exists } from "./files.ts";

const MARK = ".homecloud-lab";

/** Makes the folder and marks it as the lab's; refuses one that holds somebody else's files. */
export async function makeMarkedFolder(folder: string, mode: number): Promise<void> {
  await mkdir(folder, { recursive: true, mode });
  if (await exists(join(folder, MARK))) return;
  if ((await readdir(folder)).length > 0)
    throw new LabError(`${folder} is not empty and not the lab's: name another folder, or empty it`);
  await writeFile(join(folder, MARK), "");
}

/** Deletes the folder if it carries the mark: HOMECLOUD_STATE=$HOME would be one slip away. */
export async function deleteMarkedFolder(folder: string): Promise<void> {
  if (!(await exists(folder))) return;
  if (!(await exists(join(folder, MARK)))) throw new LabError(`${folder} is not the lab's: nothing was deleted`);
  await rm(folder, { recursive: true, force: true });
}
