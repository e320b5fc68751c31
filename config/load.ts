import { isIP } from "node:net";
import { z } from "zod";
import { parseBytes } from "./quantity.ts";
import { crossChecks } from "./rules.ts";
import { type Config, configSchema, SECRET_KEYS } from "./schema.ts";
import type { RegistrySettings, Settings } from "./settings.ts";

/** Everything that is wrong with a stack's configuration, one line each. For a person: has no stack trace. */
export class ConfigError extends Error {
  readonly problems: string[];

  constructor(stack: string, problems: string[]) {
    const heading = problems.length === 1 ? "1 setting is" : `${problems.length} settings are`;
    super(
      `${heading} wrong in the configuration of stack ${stack}:\n${problems.map((line) => `  - ${line}`).join("\n")}`,
    );
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** A stack's configuration as the engine hands it over. */
export interface RawConfig {
  stack: string;
  project: string;
  /** Every value as text, `PROJECT:key` to value; objects are JSON. */
  values: Record<string, string>;
  /** Full keys that were set with `--secret`. */
  secretKeys: string[];
}

/** Reads a stack's configuration. Throws one ConfigError that names every problem. */
export function loadSettings(raw: RawConfig): Settings {
  const { input, secrets, problems } = readValues(raw);
  const parsed = configSchema.safeParse(input, { error: explain });
  if (!parsed.success) problems.push(...parsed.error.issues.flatMap((issue) => describeIssue(issue, input, secrets)));
  else problems.push(...crossChecks(parsed.data));
  if (!parsed.success || problems.length > 0) throw new ConfigError(raw.stack, problems);
  return toSettings(parsed.data);
}

/**
 * The values of this project's keys; objects are parsed, and secrets that stand in the clear are reported. Secret is what
 * must be, and whatever else was set with `--secret`.
 */
function readValues({ project, values, secretKeys }: RawConfig): {
  input: Record<string, unknown>;
  secrets: Set<string>;
  problems: string[];
} {
  const input: Record<string, unknown> = {};
  const secrets = new Set<string>(SECRET_KEYS);
  const problems: string[] = [];
  for (const [fullKey, text] of Object.entries(values)) {
    if (!fullKey.startsWith(`${project}:`)) continue;
    const key = fullKey.slice(project.length + 1);
    input[key] = isTextKey(key) ? text : parseJson(text);
    if (secretKeys.includes(fullKey)) secrets.add(key);
    if ((SECRET_KEYS as readonly string[]).includes(key) && !secretKeys.includes(fullKey)) {
      problems.push(
        `${key}: stands in plain text in the stack file. Set it again with: pulumi config set --secret ${key}`,
      );
    }
  }
  return { input, secrets, problems };
}

/** Keys whose value is text even where it looks like JSON: a password may well be 12345. */
function isTextKey(key: string): boolean {
  const field = (configSchema.shape as Record<string, z.ZodType>)[key];
  return field !== undefined && z.toJSONSchema(field, { io: "input" }).type === "string";
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** What is allowed, in words, where zod's own message names a type only. */
const explain: z.core.$ZodErrorMap = (issue) => {
  if (issue.code === "invalid_value") return `one of ${issue.values.join(", ")}`;
  if (issue.code === "invalid_union" && issue.discriminator) return `a ${issue.discriminator} of its own`;
  if (issue.code === "invalid_type") return `${issue.expected}`;
  return undefined;
};

function describeIssue(issue: z.core.$ZodIssue, input: unknown, secrets: Set<string>): string[] {
  const at = issue.path.map(String);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => `${[...at, key].join(".")}: there is no such setting. ${nearest(key, at, input)}`);
  }
  if (issue.code === "invalid_union" && issue.discriminator) {
    return [`${at.join(".")}: ${show(at, input, secrets)}; allowed: ${modes(at)}`];
  }
  return [`${at.join(".")}: ${show(at, input, secrets)}; allowed: ${issue.message}`];
}

/** The value as the person wrote it; a secret's never. */
function show(path: string[], input: unknown, secrets: Set<string>): string {
  if (secrets.has(path[0] ?? "")) return "the value is not allowed (secret, not shown)";
  const value = valueAt(path, input);
  return value === undefined ? "is missing" : `${JSON.stringify(value)} is not allowed`;
}

function valueAt(path: string[], input: unknown): unknown {
  return path.reduce((value, step) => (value as Record<string, unknown> | undefined)?.[step], input);
}

/** A part of the configuration's JSON schema. */
interface SchemaPart {
  type?: string;
  const?: unknown;
  properties?: Record<string, SchemaPart>;
  oneOf?: SchemaPart[];
}

/** The schema at this path; of a union, the option of the mode that the person chose. */
function schemaAt(path: string[], input: unknown): SchemaPart | undefined {
  let part: SchemaPart | undefined = z.toJSONSchema(configSchema, { io: "input" }) as SchemaPart;
  for (const [depth, step] of path.entries()) {
    part = part?.properties?.[step];
    const mode = valueAt([...path.slice(0, depth + 1), "mode"], input);
    part = part?.oneOf?.find((option) => option.properties?.mode?.const === mode) ?? part;
  }
  return part;
}

/** The modes that the union has whose `mode` is at this path. */
function modes(path: string[]): string {
  const union = schemaAt(path.slice(0, -1), undefined)?.oneOf ?? [];
  return union.map((option) => option.properties?.mode?.const).join(", ");
}

/** The keys that do exist where the unknown one stands, the likely one first. */
function nearest(key: string, path: string[], input: unknown): string {
  const known = Object.keys(schemaAt(path, input)?.properties ?? {});
  const likely = known.toSorted((a, b) => commonStart(b, key) - commonStart(a, key))[0] ?? "";
  const isLikely = commonStart(likely, key) >= Math.min(4, key.length);
  return isLikely ? `Did you mean ${[...path, likely].join(".")}?` : `There are: ${known.join(", ")}`;
}

/** How many letters two names have in common at their start, case aside. */
function commonStart(one: string, other: string): number {
  const [a, b] = [one.toLowerCase(), other.toLowerCase()];
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
}

function toSettings(config: Config): Settings {
  return {
    cluster: { kubeconfig: config.kubeconfig, context: config.kubeContext },
    registry: registrySettings(config),
    tls: config.tls,
    access: config.access,
    clusterNames: config.clusterNames,
    pihole: config.pihole && config.piholePassword ? { ...config.pihole, password: config.piholePassword } : undefined,
  };
}

function registrySettings(config: Config): RegistrySettings {
  const { registry, access } = config;
  const name = registry.host ?? `registry.${config.domain}`;
  return {
    ...registry,
    host: access.mode === "node-port" ? hostAndPort(access.hosts[0] ?? "", access.port) : name,
    certificateNames: access.mode === "node-port" ? access.hosts : [name],
    limitBytes: parseBytes(registry.storage) ?? 0,
    reserveBytes: parseBytes(registry.reserve) ?? 0,
    keepFreeBytes: parseBytes(registry.keepFree) ?? 0,
    user: config.registryUser,
    password: config.registryPassword,
    pullUsers: pullUsers(registry.pullUser, registry.pullUserGeneration),
  };
}

/** An IPv6 address stands in brackets before a port. */
function hostAndPort(host: string, port: number): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Two generations are valid at once, so that a rotation never leaves a node without one. */
function pullUsers(name: string, generation: number): string[] {
  return [generation, generation - 1].filter((number) => number > 0).map((number) => `${name}-${number}`);
}
