import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { z } from "zod";
import { count, form, host, kubernetesName, nonEmpty, text } from "./forms.ts";
import { isGoRegexp } from "./go-regexp.ts";
import { hostKeyProblem } from "./ssh.ts";

/** Fields of a login in `configs` that must be set with `--secret`, and that never appear in a message. */
export const LOGIN_SECRETS = ["password", "auth", "identity_token"] as const;

const SSH_PORT = "a port from 1 to 65535";
const SECONDS = "a whole number of seconds from 1 on";

/** How a whole is told off: not on top of what is wrong inside. */
const whole = (allowed: string) => ({
  error: allowed,
  when: ({ issues }: { issues: unknown[] }) => issues.length === 0,
});

/** Control characters end a header, and K3s would write them into containerd's TOML in Go's way; a half character is no text. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}]/u;
const printable = (allowed: string) => nonEmpty(allowed).refine((value) => !UNPRINTABLE.test(value), allowed);

const node = z.strictObject({
  name: kubernetesName.describe("Name of the node, for messages and resources."),
  host: host.describe("Address or name at which SSH reaches the node."),
  port: z.int(SSH_PORT).min(1, SSH_PORT).max(65535, SSH_PORT).default(22).describe("Port of the node's sshd."),
  user: text(/^[A-Za-z_][A-Za-z0-9._-]{0,31}$/, "a user's name: letters, digits, '.', '_' and '-', 32 at most")
    .default("root")
    .describe("User who logs in."),
  role: z.enum(["server", "agent"]).default("server").describe("What the node is to K3s: server or agent."),
  hostKey: form(hostKeyProblem).describe(
    "The node's public host key, ed25519 or ecdsa: what `ssh-keyscan -t ed25519 HOST` prints after the name.",
  ),
  distribution: z
    .enum(["k3s", "rke2", "containerd"])
    .default("k3s")
    .describe("What runs the pods: k3s, rke2, or containerd alone, which always gets hosts-toml."),
  become: z
    .enum(["none", "sudo", "doas"])
    .default("none")
    .describe("How the user becomes root, without being asked for a password: none, sudo or doas."),
});

const nodes = z
  .array(node)
  .min(1, "one node at least")
  .superRefine((all, context) => {
    const once = (key: string, allowed: string, of: (member: (typeof all)[number]) => string) => {
      for (const [index, member] of all.entries()) {
        const isTaken = all.slice(0, index).some((other) => of(other) === of(member));
        if (isTaken) context.addIssue({ code: "custom", path: [index, key], message: allowed });
      }
    };
    once("name", "a name that no other node has", ({ name }) => name);
    once("host", "a host and port that no other node has", ({ host, port }) => `${host} ${port}`);
  });

const REGISTRY =
  "host or host:port as image references carry it, in lower case, without scheme and path, for example docker.io or " +
  "nas.lan:5000; or * for all";
const HOST_PORT = /^(?:\[(?<ip>[0-9a-f:.]+)\]|[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)(?::(?<port>\d+))?$/;

function isHostAndPort(value: string): boolean {
  const { ip, port } = HOST_PORT.exec(value)?.groups ?? {};
  if (!HOST_PORT.test(value) || (ip !== undefined && isIP(ip) !== 6)) return false;
  return port === undefined || (Number(port) > 0 && Number(port) <= 65535);
}

const registryName = form((name) => (name === "*" || isHostAndPort(name) ? undefined : REGISTRY));

const ENDPOINT = "a URL, its host in lower case, such as https://nas.lan:5000 or https://nas.lan/v2/mirror";
const URL_FORM = /^https?:\/\/(?<host>[^/?#@]+)(?:\/(?:[\w.~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?$/;

const endpoint = form((url) => (isHostAndPort(URL_FORM.exec(url)?.groups?.host ?? "") ? undefined : ENDPOINT));

/** As K3s compares them. Source: https://github.com/k3s-io/k3s/blob/master/pkg/agent/containerd/config.go */
const normalized = (url: string): string =>
  url.replace(/(\/\/[^/]*)(\/|\/v2)?$/, "$1/v2").replace("//docker.io/", "//registry-1.docker.io/");

const isEachOnce = (urls: string[]) => new Set(urls.map(normalized)).size === urls.length;

/**
 * K3s writes both sides of a rewrite into containerd's TOML as they are, so that one `\.` breaks the registry's whole file.
 * Source: https://github.com/k3s-io/k3s/blob/master/pkg/agent/templates/templates.go
 */
const BREAKS_TOML = /["\\\p{Cc}\p{Cs}]/u;
const NO_BACKSLASH = "K3s would write it unquoted into containerd's TOML: [.] stands for \\., [0-9] for \\d";
const PATTERN = "a regular expression in Go's syntax, which K3s uses: no lookaround, no backreferences";
const pattern = form((value) => {
  if (BREAKS_TOML.test(value)) return `a regular expression without backslash, quote and line break (${NO_BACKSLASH})`;
  return isGoRegexp(value) ? undefined : PATTERN;
});
const replacement = z
  .string()
  .refine((value) => !BREAKS_TOML.test(value), "text without backslash, quote and line break, $1 for the first group");

const mirror = z
  .strictObject({
    endpoint: z
      .array(endpoint)
      .refine(isEachOnce, "each endpoint once (without a path, with / and with /v2 are the same)")
      .default([])
      .describe("URLs that are asked one after the other, before the registry itself."),
    rewrite: z
      .record(pattern, replacement)
      .default({})
      .describe("Regular expressions (Go's) on the image's name, and what stands in for a match at the endpoints."),
  })
  .refine(
    ({ endpoint, rewrite }) => endpoint.length > 0 || Object.keys(rewrite).length === 0,
    whole("a rewrite together with an endpoint (K3s ignores it without one)"),
  );

const NAME_AND_PASSWORD = "base64 of NAME:PASSWORD, as docker login writes it";
const ONE_LOGIN = "username with password, or auth alone, or identity_token alone (K3s would ignore what is more)";

const login = z
  .strictObject({
    username: printable("a user's name without ':' and control characters")
      .refine((name) => !name.includes(":"), "a user's name without ':' and control characters")
      .optional()
      .describe("User who logs in there."),
    password: printable("a password that is not empty and without control characters")
      .meta({ secret: true })
      .optional()
      .describe("That user's password (secret)."),
    auth: form((value) => (isBasicLogin(value) ? undefined : NAME_AND_PASSWORD))
      .meta({ secret: true })
      .optional()
      .describe("Name and password in one, in base64 (secret)."),
    identity_token: printable("a token that is not empty and without control characters")
      .meta({ secret: true })
      .optional()
      .describe("Token instead of name and password (secret)."),
  })
  .refine((given) => {
    const fields = Object.entries(given).flatMap(([field, value]) => (value === undefined ? [] : [field]));
    return ["password,username", "auth", "identity_token"].includes(fields.sort().join());
  }, whole(ONE_LOGIN));

function isBasicLogin(value: string): boolean {
  const decoded = Buffer.from(value, "base64");
  return decoded.toString("base64") === value && /^[^:]+:./.test(decoded.toString("latin1"));
}

const PATH = "an absolute path on the node";
const path = printable(PATH).refine((value) => value.startsWith("/"), PATH);

const tls = z
  .strictObject({
    ca_file: path.optional().describe("CA that vouches for the endpoint, on the node."),
    cert_file: path.optional().describe("Client certificate, on the node."),
    key_file: path.optional().describe("That certificate's key, on the node."),
    insecure_skip_verify: z.boolean().optional().describe("Whether any certificate will do."),
  })
  .refine(
    (files) => (files.cert_file === undefined) === (files.key_file === undefined),
    whole("cert_file and key_file together, or neither"),
  );

const config = z
  .strictObject({
    auth: login.optional(),
    tls: tls.optional(),
  })
  .refine(
    ({ auth, tls }) => auth !== undefined || (tls !== undefined && Object.keys(tls).length > 0),
    whole("auth, tls or both"),
  );

const caCertificate = z.string().refine(isCertificate, "a CA certificate in PEM: -----BEGIN CERTIFICATE----- …");

function isCertificate(pem: string): boolean {
  const blocks = pem.match(/-----BEGIN .+?-----END [A-Z ]+-----/gs) ?? [];
  try {
    return blocks.length > 0 && blocks.every((block) => new X509Certificate(block).raw.length > 0);
  } catch {
    return false;
  }
}

export const nodeTrust = z.strictObject({
  nodes: nodes.describe("The nodes, each with its host key."),
  mode: z
    .enum(["registries-yaml", "hosts-toml"])
    .default("registries-yaml")
    .describe(
      "How nodes are told. registries-yaml: login, CA and mirrors for the whole node, with a restart. hosts-toml: CA and mirror only, in " +
        "containerd's certs.d, with no restart; pods then need the pull secret.",
    ),
  mirrors: z
    .record(registryName, mirror)
    .default({})
    .describe("More mirrors, as K3s has them: registry (or `*`) to endpoints and rewrites."),
  configs: z
    .record(registryName, config)
    .default({})
    .describe("Logins and TLS of other endpoints, as K3s has them: an endpoint's host and port to auth and tls."),
  caCertificate: caCertificate
    .optional()
    .describe("The CA (PEM) behind a cluster issuer that is not public: needed with tls.acme false."),
  adopt: z
    .boolean()
    .default(false)
    .describe("Whether to take over a registries.yaml that someone else wrote. It comes back on destroy."),
  proofGeneration: count("a whole number from 1 on")
    .default(1)
    .describe(
      "Raise to look at every node again: K3s was installed anew, or somebody has changed the file. Nothing restarts that is as it should be.",
    ),
  batch: count("a whole number from 1 to 50", 50)
    .default(3)
    .describe("How many agents are changed at a time, once the first has been proven. Servers go one by one."),
  timeLimits: z
    .strictObject({
      connect: count(SECONDS).default(15).describe("Seconds for an SSH connection."),
      check: count(SECONDS)
        .optional()
        .describe(
          "Seconds in which the registry must answer the node, before anything is changed there. Defaults to 20, and to 300 with a " +
            "cluster issuer, whose first certificate takes that long.",
        ),
      restart: count(SECONDS).default(180).describe("Seconds for a restart of K3s."),
      proof: count(SECONDS).default(180).describe("Seconds for the proof that the node works and pulls."),
      lock: count(SECONDS).default(60).describe("Seconds to wait for another run on the same node."),
    })
    .prefault({}),
});
