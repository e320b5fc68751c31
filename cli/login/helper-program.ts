import { access, constants, lstat, mkdir, readlink, realpath, rm, symlink } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { UserError } from "../errors.ts";

const NAME = "docker-credential-homecloud";

/** The program itself, in this project. */
export const helperProgram = (): string => join(import.meta.dirname, "..", "bin", NAME);

/** How clients will find the helper. */
export interface OnPath {
  /** Where it is found; undefined where it is not. */
  found: string | undefined;
  /** The link that was made for it now. */
  made: string | undefined;
}

/** Makes the helper found: by a link in a folder of the person's own that is on PATH already. PATH itself is theirs. */
export async function putOnPath(): Promise<OnPath> {
  const target = await realpath(helperProgram());
  const found = await onPath(NAME);
  if (found) {
    if ((await realpath(found)) === target) return { found, made: undefined };
    const elsewhere = `${found} belongs to another Homecloud (${await realpath(found)}): remove it, then try again`;
    // A link that another checkout has made may be replaced; a file may not.
    if (!(await isOwnLink(found))) throw new UserError(elsewhere);
    await rm(found);
    await symlink(target, found);
    return { found, made: found };
  }
  const folder = await ownFolder();
  if (!folder) return { found: undefined, made: undefined };
  await mkdir(folder, { recursive: true });
  const link = join(folder, NAME);
  // A dangling one, of a checkout that has moved.
  await rm(link, { force: true });
  await symlink(target, link);
  return { found: link, made: link };
}

/** Removes a link that `putOnPath` has made. */
export async function takeOffPath(link: string): Promise<void> {
  const target = await readlink(link).catch(() => undefined);
  if (target !== undefined && target === (await realpath(helperProgram()))) await rm(link, { force: true });
}

const folders = () => (process.env.PATH ?? "").split(delimiter).filter(Boolean);

async function ownFolder(): Promise<string | undefined> {
  const own = [join(homedir(), ".local", "bin"), join(homedir(), "bin")];
  return own.find((folder) => folders().includes(folder));
}

async function isOwnLink(path: string): Promise<boolean> {
  return path.startsWith(homedir()) && (await lstat(path)).isSymbolicLink();
}

/** Where a program is on PATH. */
export async function onPath(name: string): Promise<string | undefined> {
  for (const folder of folders()) {
    const path = join(folder, name);
    const runs = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (runs) return path;
  }
  return undefined;
}
