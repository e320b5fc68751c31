import { homedir } from "node:os";
import { join } from "node:path";
import { editJson, readJsonFile } from "./json-file.ts";

/** What a `login` has chosen and changed: enough to find the password again, and to undo it. No password is in it. */
export interface Login {
  /** Files of $KUBECONFIG, where that was set; else undefined. */
  kubeconfig?: string | undefined;
  context: string;
  /** The registry's namespace. */
  namespace: string;
  user: string;
  changes: Changes;
}

export interface Changes {
  /** Files that name the credential helper, and what stood there before. */
  helpers: { file: string; before?: string | undefined; created: boolean }[];
  /** CA files that were written: none of them was there before. */
  certificates: string[];
  /** The link on PATH, where one was made. */
  link?: string | undefined;
}

export type Logins = Record<string, Login>;

/** A folder of ours for settings. Source: https://specifications.freedesktop.org/basedir-spec/latest/ */
export const settingsFolder = (): string =>
  join(process.env.XDG_CONFIG_HOME || join(homedir(), ".config"), "homecloud");

const loginsFile = () => join(settingsFolder(), "logins.json");

export const readLogins = async (): Promise<Logins> => (await readJsonFile(loginsFile())) as unknown as Logins;

/** The login for a host. What a client calls a server may be any word: `constructor` is none of these. */
export async function loginFor(host: string): Promise<Login | undefined> {
  const logins = await readLogins();
  return Object.hasOwn(logins, host) ? logins[host] : undefined;
}

export async function writeLogin(host: string, login: Login): Promise<void> {
  await editJson(loginsFile(), (logins) => {
    logins[host] = login;
  });
}

export async function forgetLogin(host: string): Promise<void> {
  await editJson(
    loginsFile(),
    (logins) => {
      delete logins[host];
    },
    { removeEmpty: true },
  );
}

/** `registry.homelab.local:443`, of what clients call a server: a URL, or its host alone. */
export function hostOf(server: string): string {
  const text = server.trim().replace(/^https?:\/\//, "");
  return text.split("/")[0] ?? "";
}
