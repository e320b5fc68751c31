import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { execa } from "execa";
import { debianRoot, libraryPath } from "../debian.ts";
import { unpackedProgram } from "../tools.ts";
import type { TarEntry } from "./tar.ts";

/** One of Debian's programs at this place of an image, with the shared libraries and the loader that it needs. */
export async function programWithLibraries(name: string, path: string): Promise<TarEntry[]> {
  return withLibraries(await unpackedProgram(name), path);
}

/** Any program of this machine's at this place of an image, with what it needs. */
export async function withLibraries(program: string, path: string): Promise<TarEntry[]> {
  const libraries = await sharedLibraries(program);
  const folders = new Set([path, ...libraries.map((library) => library.path)].map(dirname).flatMap(withParents));
  return [...[...folders].map(folder), ...libraries, { path, mode: 0o755, content: await readFile(program) }];
}

export const folder = (path: string): TarEntry => ({ path, folder: true });

/** usr/lib/x → usr, usr/lib, usr/lib/x. */
export function withParents(path: string): string[] {
  const parts = path.split("/");
  return parts.map((_, index) => parts.slice(0, index + 1).join("/"));
}

/** The libraries and the loader, from the unpacked packages and from this machine, where the loader looks for them. */
async function sharedLibraries(program: string): Promise<(TarEntry & { path: string })[]> {
  const { stdout } = await execa("ldd", [program], { env: { LD_LIBRARY_PATH: await libraryPath() } });
  return Promise.all(
    parseLdd(stdout, program).map(async (found) => ({
      path: (found.startsWith(debianRoot) ? found.slice(debianRoot.length) : found).slice(1),
      mode: 0o755,
      content: await readFile(found),
    })),
  );
}

/** Paths of the libraries and the loader in ldd's output; linux-vdso, which has no file, is left out. */
export function parseLdd(output: string, program = "the program"): string[] {
  const missing = /^\s*(\S+) => not found/m.exec(output);
  if (missing) throw new Error(`${program} needs ${missing[1]}, which is neither on this machine nor in its packages`);
  return [...output.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] ?? "");
}
