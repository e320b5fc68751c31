import fc from "fast-check";
import type { ManagedRegistry, RegistriesYaml } from "../components/node-trust/registries-yaml.ts";
import { isGoRegexp } from "../config/go-regexp.ts";
import { ConfigError, loadSettings } from "../config/load.ts";
import { SECRET_KEYS } from "../config/schema.ts";
import type { NodeTrustSettings } from "../config/settings.ts";
import { ED25519, NODE_KEY, rawConfig, type StackConfig } from "./unit/stacks.ts";

const HOST = "registry.homelab.local";

/** What YAML, TOML or a shell would take for something else. */
const HOSTILE = [
  ...[
    "yes",
    "no",
    "on",
    "Y",
    "true",
    "null",
    "~",
    "",
    " ",
    "  both ends  ",
    "1e3",
    "0x1f",
    "0o17",
    "1_000",
    "12:30:45",
    "1.5",
    ".inf",
  ],
  ...[
    "2001-01-01",
    "<<",
    "=",
    "a: b",
    "a #b",
    "# a",
    "- a",
    "? a",
    ": ",
    "a:",
    "---",
    "...",
    "%YAML 1.1",
    "{{ .x }}",
    "$(x)",
    "`x`",
  ],
  ...[
    "*a",
    "&a",
    "!a",
    "!!int 1",
    "|",
    ">",
    "@a",
    "{a}",
    "[a]",
    "{a: b}",
    "'",
    "''",
    '"',
    "\\",
    "\\n",
    "\\x41",
    "a\\",
    "it's",
    'a "b"',
  ],
  ...[
    "é",
    "日本語",
    "😀",
    "👩‍👩‍👧",
    "\u00a0",
    "\u00ad",
    "\u200b",
    "\u202e",
    "\u2028",
    "a\u2029b",
    "\ufeffa",
    "\ufffe",
    "\uffff",
    "\u{10ffff}",
  ],
];
/** The same, of what no login or path may have, and what may stand in a file all the same. */
const CONTROL = ["\n", "a\nb", "a\n", "\r\n", "\t", "\t a", "\0", "\x1b[0m", "\x7f", "\x85", "a\x85b", "\x9f"];

const wellFormed = (text: string) => !/\p{Cs}/u.test(text);
const anyText = fc
  .oneof(
    fc.constantFrom(...HOSTILE, ...CONTROL),
    fc.string({ unit: "binary" }),
    fc.string({ unit: "grapheme", maxLength: 2000 }),
    fc.array(fc.constantFrom(...HOSTILE, ...CONTROL), { maxLength: 4 }).map((parts) => parts.join("")),
  )
  .filter(wellFormed);

const printable = anyText.map((text) => text.replaceAll(/\p{Cc}/gu, "")).filter((text) => text !== "");
const inToml = printable.map((text) => text.replaceAll(/["\\]/g, "")).filter((text) => isGoRegexp(text));

const hostName = fc.oneof(
  fc.constantFrom("docker.io", "ghcr.io", "10.0.0.1", "[fd00::10]", "my_nas", "localhost", HOST),
  fc.constantFrom("yes", "null", "1", "0x1f", "1e3", "1.5", "12", "0"),
  fc.domain().map((name) => name.toLowerCase()),
);
const hostAndPort = fc
  .tuple(hostName, fc.option(fc.integer({ min: 1, max: 65535 }), { nil: undefined }))
  .map(([host, port]) => (port === undefined ? host : `${host}:${port}`));
const registry = fc.oneof({ arbitrary: hostAndPort, weight: 9 }, fc.constant("*"));

const endpoint = fc
  .tuple(fc.constantFrom("https", "https", "http"), hostAndPort, fc.constantFrom("", "/", "/v2", "/v2/hub", "/a/%20b"))
  .map(([scheme, host, path]) => `${scheme}://${host}${path}`);
const rewrite = fc.dictionary(fc.oneof(fc.constantFrom("^library/(.*)$", "(?i)a|b", "[.]"), inToml), inToml, {
  maxKeys: 3,
});
const mirror = fc.record({ endpoint: fc.array(endpoint, { maxLength: 3 }), rewrite }, { requiredKeys: [] });

const login = fc.oneof(
  fc.record({ username: printable.map((name) => name.replaceAll(":", "")), password: printable }),
  fc.record({
    auth: fc.tuple(printable, printable).map(([name, word]) => Buffer.from(`${name}:${word}`).toString("base64")),
  }),
  fc.record({ identity_token: printable }),
);
const path = printable.map((name) => `/${name}`);
const tls = fc.oneof(
  fc.record({ ca_file: path, insecure_skip_verify: fc.boolean() }, { requiredKeys: [] }),
  fc.record({ cert_file: path, key_file: path }),
);
const config = fc.record({ auth: login, tls }, { requiredKeys: [] });

const nodeTrust = fc.record({
  mirrors: fc.dictionary(registry, mirror, { maxKeys: 4 }),
  configs: fc.dictionary(registry, config, { maxKeys: 4 }),
});

/** Settings that the loader accepts, in every form that it accepts. */
export const acceptedTrust: fc.Arbitrary<NodeTrustSettings> = nodeTrust
  .map((settings) => loaded({ nodes: [{ name: "server-1", host: "192.168.1.10", hostKey: ED25519 }], ...settings }))
  .filter((settings) => settings !== undefined);

function loaded(nodeTrust: StackConfig): NodeTrustSettings | undefined {
  const stack = { domain: "homelab.local", nodeSshPrivateKey: NODE_KEY, nodeTrust };
  try {
    return loadSettings(rawConfig(stack, [...SECRET_KEYS, "nodeTrust"])).nodeTrust;
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

/** The stack's own registry, with a login that nobody would choose. */
export const managedRegistry: fc.Arbitrary<ManagedRegistry> = fc.record({
  host: fc.constant(HOST),
  login: fc.record({ name: anyText, password: anyText }),
  caFile: fc.option(path, { nil: undefined }),
});

/** Everything that can be written, whether or not K3s could make use of it. */
export const anyRegistries: fc.Arbitrary<RegistriesYaml> = fc.record({
  mirrors: fc.dictionary(anyText, fc.record({ endpoint: fc.array(anyText), rewrite: fc.dictionary(anyText, anyText) })),
  configs: fc.dictionary(
    anyText,
    fc.record(
      {
        auth: fc.record({ username: anyText, password: anyText, auth: anyText, identity_token: anyText }),
        tls: fc.record({ ca_file: anyText, cert_file: anyText, key_file: anyText, insecure_skip_verify: fc.boolean() }),
      },
      { requiredKeys: [] },
    ),
  ),
});

const LOGIN = { username: "", password: "", auth: "", identity_token: "" };
const TLS = { ca_file: "", cert_file: "", key_file: "", insecure_skip_verify: false };

/** Nothing, an empty list and an empty text are the same to K3s: all of it, so that two can be compared. */
export function inFull({ mirrors, configs }: Partial<RegistriesYaml>): RegistriesYaml {
  const given = (part: object | undefined | null) =>
    Object.fromEntries(Object.entries(part ?? {}).filter(([, value]) => value !== undefined && value !== null));
  const each = <In, Out>(parts: Record<string, In> | undefined | null, change: (part: In) => Out) =>
    Object.fromEntries(Object.entries(parts ?? {}).map(([key, part]) => [key, change(part)]));
  return {
    mirrors: each(mirrors, (mirror) => ({ endpoint: [], rewrite: {}, ...given(mirror) })),
    configs: each(configs, ({ auth, tls }) => ({ auth: { ...LOGIN, ...given(auth) }, tls: { ...TLS, ...given(tls) } })),
  };
}
