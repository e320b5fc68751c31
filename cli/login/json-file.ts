import { chmod, chown, mkdir, readFile, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { UserError } from "../errors.ts";

export type JsonObject = Record<string, unknown>;

/**
 * Changes a JSON file of another program's: whole or not at all, with everything else, its order, indentation, owner and
 * permissions as they were. A file that does not exist begins empty, readable for its owner alone; one that `change` leaves
 * empty goes where `removeEmpty` says so. Throws a UserError, and changes nothing, where it is no JSON.
 */
export async function editJson(
  file: string,
  change: (content: JsonObject) => void,
  { removeEmpty = false } = {},
): Promise<void> {
  // People link their settings to a folder of their own: the link stays one.
  const path = await realpath(file).catch(() => file);
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new UserError(`${file} cannot be read: ${error.message}`);
  });
  const content = parse(file, text);
  const before = JSON.stringify(content);
  change(content);
  if (removeEmpty && Object.keys(content).length === 0) return await rm(path, { force: true });
  if (JSON.stringify(content) === before && text !== undefined) return;
  await replace(path, render(content, text)).catch((error: Error) => {
    throw new UserError(`${file} cannot be written: ${error.message}`);
  });
}

function parse(file: string, text: string | undefined): JsonObject {
  if (!text?.trim()) return {};
  try {
    const content: unknown = JSON.parse(text);
    if (typeof content === "object" && content !== null && !Array.isArray(content)) return content as JsonObject;
  } catch {
    // Said below.
  }
  throw new UserError(`${file} is no JSON object: repair it, then try again (nothing was changed)`);
}

/** As it was written before; new files as Docker writes them. */
export function render(content: JsonObject, before: string | undefined): string {
  const indent = before?.trim() ? /^\s*\{\r?\n([ \t]+)/.exec(before)?.[1] : "\t";
  return JSON.stringify(content, null, indent) + (before?.endsWith("\n") ? "\n" : "");
}

async function replace(path: string, text: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const part = `${path}.${process.pid}.part`;
  try {
    await writeFile(part, text, { mode: 0o600 });
    if (found) {
      await chmod(part, found.mode & 0o7777);
      // Only root may give files away, and only root gets here with another owner's.
      if (found.uid !== process.getuid?.()) await chown(part, found.uid, found.gid);
    }
    await rename(part, path);
  } finally {
    await rm(part, { force: true });
  }
}

/** A JSON file's object; empty where there is none, or none that can be read. */
export async function readJsonFile(file: string): Promise<JsonObject> {
  const text = await readFile(file, "utf8").catch(() => undefined);
  return parse(file, text);
}
