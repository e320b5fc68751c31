import { mkdir, readdir, readFile, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { UserError } from "../errors.ts";
import { HELPER, hasPassword, setHelper, unsetHelper } from "./cred-helpers.ts";
import { onPath } from "./helper-program.ts";
import { editJson, readJsonFile } from "./json-file.ts";
import type { Changes } from "./logins.ts";

/** Docker's settings. Source: https://docs.docker.com/reference/cli/docker/#environment-variables */
export const dockerConfig = (): string => join(process.env.DOCKER_CONFIG || join(homedir(), ".docker"), "config.json");

const userSettings = () => process.env.XDG_CONFIG_HOME || join(homedir(), ".config");

/**
 * Where Podman, skopeo and Buildah look; undefined where this machine has none of them. Not their first choice in
 * $XDG_RUNTIME_DIR, which is empty after a restart.
 * Source: https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
 */
export async function containersAuth(): Promise<string | undefined> {
  if (process.env.REGISTRY_AUTH_FILE) return resolve(process.env.REGISTRY_AUTH_FILE);
  const programs = await Promise.all(["podman", "skopeo", "buildah"].map(onPath));
  return programs.some(Boolean) ? join(userSettings(), "containers", "auth.json") : undefined;
}

/** Lets a client's settings name the helper. What an earlier login has changed there stays known. */
export async function nameHelper(
  file: string,
  host: string,
  earlier: Changes["helpers"] = [],
): Promise<Changes["helpers"][number] & { password: boolean }> {
  const created = !(await isFile(file));
  let before: string | undefined;
  await editJson(file, (config) => {
    before = setHelper(config, host);
  });
  const known = earlier.find((change) => change.file === file);
  const change = known ?? { file, created, ...(before && before !== HELPER ? { before } : {}) };
  return { ...change, password: hasPassword(await readJsonFile(file), host) };
}

/** Takes the helper out of a client's settings again. */
export async function unnameHelper({ file, before, created }: Changes["helpers"][number], host: string): Promise<void> {
  if (await isFile(file)) await editJson(file, (config) => unsetHelper(config, host, before), { removeEmpty: created });
}

/**
 * Where clients look for a registry's CA; `docker` is root's alone. They read every `*.crt` there: beside a `ca.crt` of the
 * person's own, ours has a name of its own.
 * Sources: https://github.com/containers/image/blob/main/docs/containers-certs.d.5.md,
 * https://docs.docker.com/engine/security/certificates/
 */
export const caFiles = (host: string) => ({
  docker: `/etc/docker/certs.d/${host}/homecloud.crt`,
  containers: join(userSettings(), "containers", "certs.d", host, "homecloud.crt"),
});

/**
 * Writes a CA. Whether it was written: one that stands there already is not ours to remove. Throws a UserError where
 * somebody else's file has the name; those that an earlier login has `written` are ours to change.
 */
export async function writeCa(file: string, pem: string, written: string[]): Promise<boolean> {
  const found = await readFile(file, "utf8").catch(() => undefined);
  if (found === pem) return false;
  if (found !== undefined && !written.includes(file)) {
    throw new UserError(
      `${file} was not written by homecloud login, and holds another CA: rename or remove it, then log in again`,
    );
  }
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, pem, { mode: 0o644 });
  return true;
}

/** Removes a CA that was written, and its folder where nothing else is in it. */
export async function removeCa(file: string): Promise<void> {
  await rm(file, { force: true });
  await rmdir(dirname(file)).catch(() => {});
}

/** Whether clients that look in a folder trust a CA already. */
export async function trusts(folder: string, pem: string): Promise<boolean> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(".crt"));
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), "utf8").catch(() => "")));
  return texts.some((text) => text.trim() === pem.trim());
}

async function isFile(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined))?.isFile() ?? false;
}
