import { type ScalarTag, stringify } from "yaml";

/** Where the images of a registry come from. As in K3s. */
export interface RegistryMirror {
  /** URLs, asked one after the other before the registry itself. */
  endpoint: string[];
  /** Regular expressions on an image's name, and what stands in for a match. */
  rewrite: Record<string, string>;
}

/** How K3s logs in: by name and password, by both in one (`auth`), or by a token. Secret. */
export interface RegistryLogin {
  username?: string | undefined;
  password?: string | undefined;
  auth?: string | undefined;
  identity_token?: string | undefined;
}

/** Paths on the node. */
export interface RegistryTls {
  ca_file?: string | undefined;
  cert_file?: string | undefined;
  key_file?: string | undefined;
  insecure_skip_verify?: boolean | undefined;
}

/** How an endpoint is reached. */
export interface RegistryConfig {
  auth?: RegistryLogin | undefined;
  tls?: RegistryTls | undefined;
}

/** K3s's registries.yaml: mirrors by registry, configs by the endpoint's host and port. https://docs.k3s.io/installation/private-registry */
export interface RegistriesYaml {
  mirrors: Record<string, RegistryMirror>;
  configs: Record<string, RegistryConfig>;
}

/** The stack's own registry. */
export interface ManagedRegistry {
  /** As image references carry it: `registry.homelab.local`, `192.168.1.10:30500`. */
  host: string;
  /** The user who only pulls. Secret. */
  login: { name: string; password: string };
  /** Path of the CA on the node. Defaults to the node's own CAs. */
  caFile: string | undefined;
}

/** What a node is told: the stack's own registry, and what the user has beside it. */
export function trustedRegistries({ host, login, caFile }: ManagedRegistry, extra: RegistriesYaml): RegistriesYaml {
  const rewrite = mirrorOf(host, extra.mirrors)?.rewrite ?? {};
  const own = { [host]: { endpoint: managedEndpoints(host, extra.mirrors), rewrite } };
  const config: RegistryConfig = {
    auth: { username: login.name, password: login.password },
    ...(caFile === undefined ? {} : { tls: { ca_file: caFile } }),
  };
  const configs = Object.fromEntries(managedKeys(host, extra.mirrors).map((key) => [key, config]));
  return { mirrors: { ...own, ...extra.mirrors, ...own }, configs: { ...configs, ...extra.configs, ...configs } };
}

/** URLs at which nodes ask for the registry's images: the user's, or its own. */
export function managedEndpoints(host: string, mirrors: Record<string, RegistryMirror>): string[] {
  const given = mirrorOf(host, mirrors)?.endpoint ?? [];
  return given.length > 0 ? given : [`https://${host}`];
}

/** Keys of `configs` that have to do with the registry: its endpoints', and its own, where K3s asks when no endpoint answers. */
export function managedKeys(host: string, mirrors: Record<string, RegistryMirror>): string[] {
  return [...new Set([host, ...managedEndpoints(host, mirrors).map(configKey)])];
}

/** The key under which K3s looks for an endpoint's config: host and port exactly as the URL has them. */
export const configKey = (endpoint: string): string => /\/\/([^/]*)/.exec(endpoint)?.[1] ?? "";

const mirrorOf = (host: string, mirrors: Record<string, RegistryMirror>): RegistryMirror | undefined =>
  Object.hasOwn(mirrors, host) ? mirrors[host] : undefined;

/** First line of a file on a node, by which a later run knows it as its own. */
export function managedHeader(manager: string): string {
  if (!/^[\x20-\x7e]+$/.test(manager)) throw new Error(`no manager can be called ${JSON.stringify(manager)}`);
  return `# Managed by homecloud, stack ${manager}: changes made here are lost at the next pulumi up.`;
}

/**
 * The file, as K3s reads it back: its parser is one of YAML 1.1, to which `yes` is no text and a line may end in
 * characters that are none to YAML 1.2. So all text is quoted. Throws on text that is none: half of a surrogate pair.
 */
export function renderRegistriesYaml({ mirrors, configs }: RegistriesYaml, manager: string): string {
  const content = withoutEmpty({
    mirrors: mapValues(mirrors, withoutEmpty),
    configs: mapValues(configs, ({ auth = {}, tls = {} }) =>
      withoutEmpty({ auth: withoutEmpty(auth), tls: withoutEmpty(tls) }),
    ),
  });
  // No aliases: two endpoints may well have the same login.
  const yaml = stringify(content, {
    lineWidth: 0,
    aliasDuplicateObjects: false,
    customTags: (tags) => [TEXT, ...tags],
  });
  return `${managedHeader(manager)}\n${yaml}`;
}

const mapValues = <In, Out>(record: Record<string, In>, change: (value: In) => Out): Record<string, Out> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));

function withoutEmpty(part: object): object {
  return Object.fromEntries(Object.entries(part).filter(([, value]) => !isEmpty(value)));
}

const isEmpty = (value: unknown): boolean =>
  value === undefined || (typeof value === "object" && value !== null && Object.keys(value).length === 0);

const TEXT: ScalarTag = {
  tag: "tag:yaml.org,2002:str",
  default: true,
  identify: (value) => typeof value === "string",
  resolve: String,
  stringify: ({ value }) => quoted(String(value)),
};

/** What YAML 1.1 takes for a line's end or allows nowhere, of what JSON leaves as it is. */
const NOT_YAML = /[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]/g;

function quoted(text: string): string {
  if (/\p{Cs}/u.test(text)) throw new Error("text with half of a surrogate pair cannot be written to a file");
  return JSON.stringify(text).replace(NOT_YAML, (at) => `\\u${at.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
