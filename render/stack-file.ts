import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import type { RawConfig } from "../config/load.ts";

/** Values that an engine would decrypt; without one they count as not set, and are generated where that is possible. */
interface Secured {
  secure: string;
}

/** Cannot be generated, and is no part of what is rendered: any value lets the program go on. */
const NOT_RENDERED = "piholePassword";

/** Reads `Pulumi.STACK.yaml` the way the engine does, but for secrets. Throws where there is no such stack. */
export async function readStackFile(project: string, stack: string): Promise<RawConfig & { undecrypted: string[] }> {
  const path = `Pulumi.${stack}.yaml`;
  const text = await readFile(new URL(`../${path}`, import.meta.url), "utf8").catch(() => {
    throw new Error(`there is no ${path}: name a stack that has one with --stack`);
  });
  const config = (parse(text) as { config?: Record<string, unknown> } | null)?.config ?? {};
  const entries = Object.entries(config);
  const undecrypted = entries.filter(([, value]) => isSecured(value)).map(([key]) => key);
  const values = Object.fromEntries(
    entries.filter(([, value]) => !isSecured(value)).map(([key, value]) => [key, asText(value)]),
  );
  const standIn = `${project}:${NOT_RENDERED}`;
  if (undecrypted.includes(standIn)) values[standIn] = "encrypted";
  return { project, stack, values, secretKeys: undecrypted, undecrypted };
}

function isSecured(value: unknown): value is Secured {
  return typeof value === "object" && value !== null && "secure" in value;
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
