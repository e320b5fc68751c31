import { z } from "zod";
import { DEFAULT_IMAGES } from "../components/images.ts";
import { imageHost } from "./image-host.ts";
import { localstackDnsNames, localstackHost, localstackNames } from "./localstack-host.ts";
import { localstackWarnings } from "./localstack-rules.ts";
import { nodeTrustWarnings } from "./node-trust-rules.ts";
import { LOGIN_SECRETS } from "./node-trust-schema.ts";
import { parseBytes } from "./quantity.ts";
import { registryUiHost, registryUiHostName } from "./registry-ui-host.ts";
import { crossChecks } from "./rules.ts";
import { type Config, configSchema, SECRET_KEYS, setCommand } from "./schema.ts";
import { settingName } from "./setting-name.ts";
import type {
  LocalStackSettings,
  MonitoringSettings,
  NodeTrustSettings,
  RegistrySettings,
  RegistryUiSettings,
  Settings,
} from "./settings.ts";
import { withoutComment } from "./ssh.ts";

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
  /** Whether there is an SSH agent to log in to nodes with. Defaults to false. */
  sshAgent?: boolean;
}

/** Reads a stack's configuration. Throws one ConfigError that names every problem. */
export function loadSettings(raw: RawConfig): Settings {
  const { input, secrets, problems } = readValues(raw);
  const parsed = configSchema.safeParse(input, { error: explain });
  if (!parsed.success) problems.push(...parsed.error.issues.flatMap((issue) => describeIssue(issue, input, secrets)));
  else problems.push(...crossChecks(parsed.data, raw.sshAgent === true));
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
    else problems.push(...plainSecrets(key, input[key]));
  }
  return { input, secrets, problems };
}

function plainSecrets(key: string, value: unknown): string[] {
  if ((SECRET_KEYS as readonly string[]).includes(key)) return [inPlainText(key, key)];
  return key === "nodeTrust" ? loginSecrets(value).map((name) => inPlainText(name, `--path '${name}'`)) : [];
}

const inPlainText = (name: string, argument: string): string =>
  `${name}: stands in plain text in the stack file. Set it again with: ${setCommand(argument)}`;

/** Names of the settings in nodeTrust that hold a login, whatever else is wrong with it. */
function loginSecrets(nodeTrust: unknown): string[] {
  const configs = Object.entries(
    (nodeTrust as { configs?: Record<string, { auth?: object } | null> } | null)?.configs ?? {},
  );
  return configs.flatMap(([host, config]) =>
    Object.keys(config?.auth ?? {})
      .filter((field) => (LOGIN_SECRETS as readonly string[]).includes(field))
      .map((field) => settingName(["nodeTrust", "configs", host, "auth", field])),
  );
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
  if (issue.code === "invalid_type") return issue.expected === "record" ? "object" : `${issue.expected}`;
  return undefined;
};

function describeIssue(issue: z.core.$ZodIssue, input: unknown, secrets: Set<string>): string[] {
  const at = issue.path.map(String);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map(
      (key) => `${settingName([...at, key])}: there is no such setting. ${nearest(key, at, input)}`,
    );
  }
  if (issue.code === "invalid_union" && issue.discriminator) {
    return [`${settingName(at)}: ${show(at, input, secrets)}; allowed: ${modes(at)}`];
  }
  if (issue.code === "invalid_key") {
    const allowed = issue.issues.map(({ message }) => message).join(", ");
    const key = JSON.stringify(at.at(-1));
    const shown = HOLDS_SECRET.test(key) ? "a key is not allowed (secret, not shown)" : `the key ${key} is not allowed`;
    return [`${settingName(at.slice(0, -1))}: ${shown}; allowed: ${allowed}`];
  }
  return [`${settingName(at)}: ${show(at, input, secrets)}; allowed: ${issue.message}`];
}

/** What holds a login or a private key, or might: a group, a URL with a name in it, a key in the place of a certificate. */
const HOLDS_SECRET = /\b(password|identity_token)\b|"auth"|\/\/[^/"]*@|PRIVATE KEY/;
/** As much of a value as is needed to know it again. */
const SHOWN = 200;

/** The value as the person wrote it; a secret's never. */
function show(path: string[], input: unknown, secrets: Set<string>): string {
  const value = valueAt(path, input);
  if (value === undefined) return "is missing";
  const text = JSON.stringify(value);
  if (secrets.has(path[0] ?? "") || HOLDS_SECRET.test(JSON.stringify([path, value]))) {
    return "the value is not allowed (secret, not shown)";
  }
  return `${text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text} is not allowed`;
}

function valueAt(path: string[], input: unknown): unknown {
  return path.reduce((value, step) => (value as Record<string, unknown> | undefined)?.[step], input);
}

/** A part of the configuration's JSON schema. */
interface SchemaPart {
  type?: string;
  const?: unknown;
  default?: unknown;
  properties?: Record<string, SchemaPart>;
  /** Of a list. */
  items?: SchemaPart;
  /** Of a record. */
  additionalProperties?: SchemaPart;
  oneOf?: SchemaPart[];
}

/** The schema at this path; of a union, the option of the mode that the person chose, and without an input all of them. */
function schemaAt(path: string[], input: unknown): SchemaPart | undefined {
  let part: SchemaPart | undefined = z.toJSONSchema(configSchema, { io: "input" }) as SchemaPart;
  for (const [depth, step] of path.entries()) {
    part = part?.properties?.[step] ?? part?.items ?? part?.additionalProperties;
    if (input === undefined) continue;
    const chosen = valueAt([...path.slice(0, depth + 1), "mode"], input);
    part =
      part?.oneOf?.find(({ properties }) => properties?.mode?.const === (chosen ?? properties?.mode?.default)) ?? part;
  }
  return part;
}

/** The modes that the union has whose `mode` is at this path. */
function modes(path: string[]): string {
  const union = schemaAt(path.slice(0, -1), undefined)?.oneOf ?? [];
  return union.map((option) => option.properties?.mode?.const).join(", ");
}

/** The mode in which there is such a key, or the keys that do exist where the unknown one stands, the likely one first. */
function nearest(key: string, path: string[], input: unknown): string {
  const other = schemaAt(path, undefined)?.oneOf?.find(({ properties }) => properties?.[key]);
  if (other) return `With ${settingName([...path, "mode"])} ${other.properties?.mode?.const} there is.`;
  const known = Object.keys(schemaAt(path, input)?.properties ?? {});
  const likely = known.toSorted((a, b) => commonStart(b, key) - commonStart(a, key))[0] ?? "";
  const isLikely = commonStart(likely, key) >= Math.min(4, key.length);
  return isLikely ? `Did you mean ${settingName([...path, likely])}?` : `There are: ${known.join(", ")}`;
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
    registryUi: registryUiSettings(config),
    localstack: localstackSettings(config),
    monitoring: monitoringSettings(config),
    tls: config.tls,
    access: config.access,
    clusterNames: config.clusterNames,
    pihole: config.pihole && config.piholePassword ? { ...config.pihole, password: config.piholePassword } : undefined,
    nodeTrust: nodeTrustSettings(config),
    warnings: [...nodeTrustWarnings(config), ...localstackWarnings(config)],
  };
}

function registrySettings(config: Config): RegistrySettings {
  const { registry, access } = config;
  const host = imageHost(config);
  const service = `registry.${registry.namespace}.svc`;
  const { pullUser, pullUserGeneration, keepFormerPullUser } = registry;
  return {
    ...registry,
    host,
    service,
    // The web page asks the gate by its Service.
    certificateNames:
      access.mode === "node-port" ? [...access.hosts, ...(config.registryUi.enabled ? [service] : [])] : [host],
    limitBytes: parseBytes(registry.storage) ?? 0,
    reserveBytes: parseBytes(registry.reserve) ?? 0,
    keepFreeBytes: parseBytes(registry.keepFree) ?? 0,
    user: config.registryUser,
    password: config.registryPassword,
    pullUsers: pullUsers(pullUser, pullUserGeneration, keepFormerPullUser),
    monitoringNamespaces: monitoringNamespaces(config, registry.monitoringNamespace),
  };
}

function registryUiSettings(config: Config): RegistryUiSettings | undefined {
  const { enabled, ...registryUi } = config.registryUi;
  if (!enabled) return undefined;
  const hostName = registryUiHostName(config);
  const hosts = config.access.mode === "node-port" ? config.access.hosts : [];
  return {
    ...registryUi,
    host: registryUiHost(config),
    hostName,
    certificateNames: [...new Set([hostName, ...hosts])],
  };
}

const EDITION_IMAGES = {
  community: DEFAULT_IMAGES.localstackPersist,
  pro: DEFAULT_IMAGES.localstackPro,
  ephemeral: DEFAULT_IMAGES.localstack,
};

function localstackSettings(config: Config): LocalStackSettings | undefined {
  const { enabled, lambda, images, ...localstack } = config.localstack;
  if (!enabled) return undefined;
  return {
    ...localstack,
    host: localstackHost(config),
    port: config.access.mode === "ingress" ? 443 : localstack.port,
    certificateNames: localstackNames(config),
    dnsNames: localstackDnsNames(config),
    limitBytes: parseBytes(localstack.storage) ?? 0,
    reserveBytes: parseBytes(localstack.reserve) ?? 0,
    keepFreeBytes: parseBytes(localstack.keepFree) ?? 0,
    lambda: localstack.services.includes("lambda") ? lambda : { mode: "none" },
    images: { ...images, localstack: images.localstack ?? EDITION_IMAGES[localstack.edition] },
    authToken: config.localstackAuthToken,
    monitoringNamespaces: monitoringNamespaces(config, localstack.monitoringNamespace),
  };
}

function monitoringSettings({ monitoring: { enabled, ...monitoring } }: Config): MonitoringSettings | undefined {
  return enabled ? monitoring : undefined;
}

/** Whoever is told to read the metrics may, and whoever was named for it before. */
function monitoringNamespaces({ monitoring }: Config, named: string | undefined): string[] {
  return [...new Set([...(named ? [named] : []), ...(monitoring.enabled ? [monitoring.namespace] : [])])];
}

/** Two generations are valid at once, so that a rotation never leaves a node without one. */
function pullUsers(name: string, generation: number, keepFormer: boolean): string[] {
  const generations = keepFormer ? [generation, generation - 1] : [generation];
  return generations.filter((number) => number > 0).map((number) => `${name}-${number}`);
}

function nodeTrustSettings({ nodeTrust, nodeSshPrivateKey, tls }: Config): NodeTrustSettings | undefined {
  if (!nodeTrust) return undefined;
  const { nodes, mode, timeLimits, ...settings } = nodeTrust;
  return {
    ...settings,
    timeLimits: { ...timeLimits, check: timeLimits.check ?? (tls.mode === "cluster-issuer" ? 300 : 20) },
    nodes: nodes.map((node) => ({
      ...node,
      hostKey: withoutComment(node.hostKey),
      mode: node.distribution === "containerd" ? "hosts-toml" : mode,
    })),
    privateKey: nodeSshPrivateKey,
    caCertificate: settings.caCertificate,
  };
}
