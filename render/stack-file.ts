import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import type { RawConfig } from "../config/load.ts";

/** Values that an engine would decrypt; without one they count as not set, and are generated where that is possible. */
interface Secured {
  secure: string;
}

/** Cannot be generated: any value lets the program go on. */
const NOT_GENERATED = ["piholePassword", "localstackAuthToken"];

/** Stands for a secret inside a group, which cannot be left out. Base64 of a login: that is what it may have to be. */
const STAND_IN = Buffer.from("encrypted:encrypted").toString("base64");

/** Reads `Pulumi.STACK.yaml` the way the engine does, but for secrets. Throws where there is no such stack. */
export async function readStackFile(project: string, stack: string): Promise<RawConfig & { undecrypted: string[] }> {
  const path = `Pulumi.${stack}.yaml`;
  const text = await readFile(new URL(`../${path}`, import.meta.url), "utf8").catch(() => {
    throw new Error(`there is no ${path}: name a stack that has one with --stack`);
  });
  const config = (parse(text) as { config?: Record<string, unknown> } | null)?.config ?? {};
  const entries = Object.entries(config);
  const undecrypted = entries.filter(([, value]) => holdsSecured(value)).map(([key]) => key);
  const values = Object.fromEntries(
    entries.filter(([, value]) => !isSecured(value)).map(([key, value]) => [key, asText(withStandIns(value))]),
  );
  for (const key of NOT_GENERATED.map((name) => `${project}:${name}`)) {
    if (undecrypted.includes(key)) values[key] = "encrypted";
  }
  // Without an engine no node is reached: it does not matter whose key would do it, so none is asked for.
  return { project, stack, values, secretKeys: undecrypted, sshAgent: true, undecrypted };
}

/** Whether any of it is encrypted: the engine counts the whole key as secret then. */
function holdsSecured(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return isSecured(value) || Object.values(value).some(holdsSecured);
}

function withStandIns(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (isSecured(value)) return STAND_IN;
  if (Array.isArray(value)) return value.map(withStandIns);
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, withStandIns(part)]));
}

function isSecured(value: unknown): value is Secured {
  return typeof value === "object" && value !== null && "secure" in value;
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
