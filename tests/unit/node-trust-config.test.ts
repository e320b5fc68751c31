import { beforeAll, describe, expect, test } from "vitest";
import { loadSettings } from "../../config/load.ts";
import { SECRET_KEYS } from "../../config/schema.ts";
import type { NodeTrustSettings } from "../../config/settings.ts";
import { makeCaCertificate, makeKey } from "../../render/certificates.ts";
import { ED25519, NO_LOCALSTACK, NODE_KEY, problemsOf, rawConfig, type StackConfig } from "./stacks.ts";

const HOST = "registry.homelab.local";
const SERVER = { name: "server-1", host: "192.168.1.10", hostKey: ED25519 };
/** nodeTrust holds a login: the engine counts it as secret then. */
const WITH_LOGIN = [...SECRET_KEYS, "nodeTrust"];

let caPem: string;

beforeAll(async () => {
  const nobody = { dnsNames: [], ipAddresses: [] };
  caPem = await makeCaCertificate({ keyPem: await makeKey(), commonName: "home CA", validityHours: 24, ...nobody });
});

/** A homelab with one node and these settings of nodeTrust. */
const stack = (nodeTrust: StackConfig = {}, others: StackConfig = {}): StackConfig => ({
  domain: "homelab.local",
  nodeSshPrivateKey: NODE_KEY,
  nodeTrust: { nodes: [SERVER], ...nodeTrust },
  ...NO_LOCALSTACK,
  ...others,
});

const load = (config: StackConfig, secretKeys?: readonly string[]) => loadSettings(rawConfig(config, secretKeys));

function trustOf(config: StackConfig): NodeTrustSettings {
  const { nodeTrust } = load(config);
  if (!nodeTrust) throw new Error("no node is touched");
  return nodeTrust;
}

describe("defaults", () => {
  test("without nodeTrust no node is touched", () => {
    const { nodeTrust, warnings } = load({ domain: "homelab.local", ...NO_LOCALSTACK });

    expect(nodeTrust).toBeUndefined();
    expect(warnings).toEqual([]);
  });

  test("a node's name, host and host key are all that it must say", () => {
    expect(trustOf(stack())).toEqual({
      nodes: [
        {
          ...SERVER,
          port: 22,
          user: "root",
          role: "server",
          distribution: "k3s",
          become: "none",
          mode: "registries-yaml",
        },
      ],
      privateKey: NODE_KEY,
      mirrors: {},
      configs: {},
      caCertificate: undefined,
      adopt: false,
      batch: 3,
      proofGeneration: 1,
      timeLimits: { connect: 15, check: 20, restart: 180, proof: 180, lock: 60 },
    });
  });

  test("containerd alone gets hosts.toml, whatever the others get", () => {
    const nodes = [SERVER, { ...SERVER, name: "kind", host: "kind.lan", distribution: "containerd" }];

    expect(trustOf(stack({ nodes })).nodes.map(({ mode }) => mode)).toEqual(["registries-yaml", "hosts-toml"]);
    expect(trustOf(stack({ nodes, mode: "hosts-toml" })).nodes.map(({ mode }) => mode)).toEqual([
      "hosts-toml",
      "hosts-toml",
    ]);
  });

  test("one time limit can be changed without the others, and a host key's comment is dropped", () => {
    const { nodes, timeLimits } = trustOf(
      stack({ nodes: [{ ...SERVER, hostKey: `${ED25519} root@server-1` }], timeLimits: { restart: 600 } }),
    );

    expect(timeLimits).toEqual({ connect: 15, check: 20, restart: 600, proof: 180, lock: 60 });
    expect(nodes[0]?.hostKey).toBe(ED25519);
  });

  test("a cluster issuer's first certificate takes minutes", () => {
    const other = { domain: "home.example.net", tls: { mode: "cluster-issuer", issuer: "letsencrypt" } };
    expect(trustOf(stack({}, other)).timeLimits.check).toBe(300);
    expect(trustOf(stack({ timeLimits: { check: 7 } }, other)).timeLimits.check).toBe(7);
  });
});

describe("rotation", () => {
  test("the former pull user is let in until that is turned off", () => {
    const users = (registry: StackConfig) => load({ domain: "a.lan", registry }).registry.pullUsers;

    expect(users({ pullUserGeneration: 4 })).toEqual(["puller-4", "puller-3"]);
    expect(users({ pullUserGeneration: 4, keepFormerPullUser: false })).toEqual(["puller-4"]);
    expect(users({ pullUserGeneration: 1 })).toEqual(["puller-1"]);
  });

  test("the private CA has generations", () => {
    expect(load({ domain: "a.lan", tls: { mode: "private-ca", generation: 2 } }).tls).toEqual({
      mode: "private-ca",
      generation: 2,
    });
    expect(problemsOf({ domain: "a.lan", tls: { mode: "private-ca", generation: 0 } })).toEqual([
      "tls.generation: 0 is not allowed; allowed: a whole number from 1 on",
    ]);
  });
});

describe("a wrong setting is named with its value and what is allowed", () => {
  test.each<[string, StackConfig, string]>([
    ["no node", { nodes: [] }, "nodeTrust.nodes: [] is not allowed; allowed: one node at least"],
    ["no list", { nodes: {} }, "nodeTrust.nodes: {} is not allowed; allowed: array"],
    [
      "no name",
      { nodes: [{ ...SERVER, name: undefined }] },
      "nodeTrust.nodes.0.name: is missing; allowed: a Kubernetes",
    ],
    [
      "a wrong name",
      { nodes: [{ ...SERVER, name: "Server 1" }] },
      'nodeTrust.nodes.0.name: "Server 1" is not allowed; allowed: a Kube',
    ],
    [
      "no host",
      { nodes: [{ ...SERVER, host: undefined }] },
      "nodeTrust.nodes.0.host: is missing; allowed: an IP address or a host",
    ],
    [
      "a wrong host",
      { nodes: [{ ...SERVER, host: "a b" }] },
      'nodeTrust.nodes.0.host: "a b" is not allowed; allowed: an IP address',
    ],
    [
      "a wrong port",
      { nodes: [{ ...SERVER, port: 0 }] },
      "nodeTrust.nodes.0.port: 0 is not allowed; allowed: a port from 1 to 65535",
    ],
    [
      "a wrong user",
      { nodes: [{ ...SERVER, user: "-x" }] },
      'nodeTrust.nodes.0.user: "-x" is not allowed; allowed: a user\'s name',
    ],
    [
      "a wrong role",
      { nodes: [{ ...SERVER, role: "master" }] },
      'nodeTrust.nodes.0.role: "master" is not allowed; allowed: one of server, agent',
    ],
    [
      "no host key",
      { nodes: [{ ...SERVER, hostKey: undefined }] },
      "nodeTrust.nodes.0.hostKey: is missing; allowed: a host key of type ssh-ed25519",
    ],
    [
      "a wrong host key",
      { nodes: [{ ...SERVER, hostKey: "AAAA" }] },
      'nodeTrust.nodes.0.hostKey: "AAAA" is not allowed; allowed: a host key of type ssh-ed25519',
    ],
    [
      "an RSA key",
      { nodes: [{ ...SERVER, hostKey: "ssh-rsa AAAA" }] },
      'nodeTrust.nodes.0.hostKey: "ssh-rsa AAAA" is not allowed; allowed: the node\'s ed25519 or ecdsa key',
    ],
    [
      "a number for a host key",
      { nodes: [{ ...SERVER, hostKey: 1 }] },
      "nodeTrust.nodes.0.hostKey: 1 is not allowed; allowed: a host key of type",
    ],
    [
      "another distribution",
      { nodes: [{ ...SERVER, distribution: "kind" }] },
      'nodeTrust.nodes.0.distribution: "kind" is not allowed; allowed: one of k3s, rke2, containerd',
    ],
    [
      "another way to root",
      { nodes: [{ ...SERVER, become: "su" }] },
      'nodeTrust.nodes.0.become: "su" is not allowed; allowed: one of none, sudo, doas',
    ],
    [
      "another mode",
      { mode: "registries.yaml" },
      'nodeTrust.mode: "registries.yaml" is not allowed; allowed: one of registries-yaml, hosts-toml',
    ],
    [
      "a name twice",
      { nodes: [SERVER, { ...SERVER, host: "b.lan" }] },
      'nodeTrust.nodes.1.name: "server-1" is not allowed; allowed: a name that no other node has',
    ],
    [
      "a host twice",
      { nodes: [SERVER, { ...SERVER, name: "b" }] },
      'nodeTrust.nodes.1.host: "192.168.1.10" is not allowed; allowed: a host and port that no other node has',
    ],
    [
      "an unknown key of a node",
      { nodes: [{ ...SERVER, hostkey: "x" }] },
      "nodeTrust.nodes.0.hostkey: there is no such setting. Did you mean nodeTrust.nodes.0.hostKey?",
    ],
    ["text for adopt", { adopt: "yes" }, 'nodeTrust.adopt: "yes" is not allowed; allowed: boolean'],
    ["too large a batch", { batch: 51 }, "nodeTrust.batch: 51 is not allowed; allowed: a whole number from 1 to 50"],
    [
      "no time",
      { timeLimits: { lock: 0 } },
      "nodeTrust.timeLimits.lock: 0 is not allowed; allowed: a whole number of seconds from 1 on",
    ],
    [
      "half a second",
      { timeLimits: { proof: 0.5 } },
      "nodeTrust.timeLimits.proof: 0.5 is not allowed; allowed: a whole number of seconds",
    ],
    [
      "an unknown limit",
      { timeLimits: { proofs: 1 } },
      "nodeTrust.timeLimits.proofs: there is no such setting. Did you mean nodeTrust.timeLimits.proof?",
    ],
    [
      "no certificate",
      { caCertificate: "/ca.pem" },
      'nodeTrust.caCertificate: "/ca.pem" is not allowed; allowed: a CA certificate in PEM',
    ],
    [
      "a broken certificate",
      { caCertificate: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----" },
      "nodeTrust.caCertificate: ",
    ],
  ])("%s", (_, nodeTrust, problem) => {
    const problems = problemsOf(stack(nodeTrust));

    expect(problems).toEqual([expect.stringContaining(problem)]);
    expect(problems[0]?.startsWith(problem)).toBe(true);
    expect(problems[0]).not.toMatch(/invalid|too small|expected/i);
  });

  test("the same host on another port is another node: one behind a forwarded port", () => {
    expect(problemsOf(stack({ nodes: [SERVER, { ...SERVER, name: "b", port: 2222 }] }))).toEqual([]);
  });

  test("a long value is shown as far as it can be known again", () => {
    const [problem = ""] = problemsOf(stack({ caCertificate: "x".repeat(5000) }));

    expect(problem.length).toBeLessThan(400);
    expect(problem).toContain('"xxxxx');
    expect(problem).toContain("… is not allowed; allowed: a CA certificate");
  });
});

const HIDDEN = "the value is not allowed (secret, not shown)";
const endpoint = 'nodeTrust.mirrors["docker.io"].endpoint';

describe("mirrors: what K3s would skip without a word is an error", () => {
  test.each<[string, StackConfig, string]>([
    [
      "a key with a scheme",
      { "https://docker.io": {} },
      'nodeTrust.mirrors: the key "https://docker.io" is not allowed; allowed: host or host:port',
    ],
    [
      "a key with a login",
      { "https://me:hunter2@nas.lan": {} },
      "nodeTrust.mirrors: a key is not allowed (secret, not shown); allowed: host or host:port",
    ],
    [
      "a key with a path",
      { "docker.io/library": {} },
      'nodeTrust.mirrors: the key "docker.io/library" is not allowed; allowed: host or host:port',
    ],
    [
      "a key in upper case",
      { "Docker.io": {} },
      'nodeTrust.mirrors: the key "Docker.io" is not allowed; allowed: host or host:port',
    ],
    [
      "a key with no port",
      { "nas:": {} },
      'nodeTrust.mirrors: the key "nas:" is not allowed; allowed: host or host:port',
    ],
    [
      "a key with a port that is none",
      { "nas:65536": {} },
      'nodeTrust.mirrors: the key "nas:65536" is not allowed; allowed: host or host:port',
    ],
    [
      "a pattern of hosts",
      { "*.io": {} },
      'nodeTrust.mirrors: the key "*.io" is not allowed; allowed: host or host:port',
    ],
    [
      "brackets around no IPv6 address",
      { "[10.0.0.1]": {} },
      'nodeTrust.mirrors: the key "[10.0.0.1]" is not allowed; allowed: host or host:port',
    ],
    [
      "an unknown key",
      { "docker.io": { endpoints: [] } },
      'nodeTrust.mirrors["docker.io"].endpoints: there is no such setting. Did you mean nodeTrust.mirrors["docker.io"].endpoint?',
    ],
    [
      "one endpoint that is no list",
      { "docker.io": { endpoint: "https://a" } },
      `${endpoint}: "https://a" is not allowed; allowed: array`,
    ],
    [
      "no scheme",
      { "docker.io": { endpoint: ["nas.lan:5000"] } },
      `${endpoint}.0: "nas.lan:5000" is not allowed; allowed: a URL, its host in lower case, such as https://`,
    ],
    [
      "another scheme",
      { "docker.io": { endpoint: ["ftp://nas.lan"] } },
      `${endpoint}.0: "ftp://nas.lan" is not allowed; allowed: a URL`,
    ],
    [
      "no host",
      { "docker.io": { endpoint: ["https:///v2"] } },
      `${endpoint}.0: "https:///v2" is not allowed; allowed: a URL`,
    ],
    [
      "a login in the URL",
      { "docker.io": { endpoint: ["https://me:hunter2@nas.lan"] } },
      `${endpoint}.0: ${HIDDEN}; allowed: a URL`,
    ],
    [
      "a query",
      { "docker.io": { endpoint: ["https://nas.lan/v2?x=1"] } },
      `${endpoint}.0: "https://nas.lan/v2?x=1" is not allowed; allowed: a URL`,
    ],
    [
      "half an escape",
      { "docker.io": { endpoint: ["https://nas.lan/%zz"] } },
      `${endpoint}.0: "https://nas.lan/%zz" is not allowed; allowed: a URL`,
    ],
    [
      "a port that is none",
      { "docker.io": { endpoint: ["https://nas.lan:0"] } },
      `${endpoint}.0: "https://nas.lan:0" is not allowed; allowed: a URL`,
    ],
    [
      "an endpoint twice",
      { "docker.io": { endpoint: ["https://nas.lan", "https://nas.lan/v2"] } },
      `${endpoint}: ["https://nas.lan","https://nas.lan/v2"] is not allowed; allowed: each endpoint once`,
    ],
    [
      "Docker Hub twice",
      { "docker.io": { endpoint: ["https://docker.io/", "https://registry-1.docker.io"] } },
      `${endpoint}: ["https://docker.io/","https://registry-1.docker.io"] is not allowed; allowed: each endpoint once`,
    ],
    [
      "a rewrite without an endpoint",
      { "docker.io": { rewrite: { a: "b" } } },
      'nodeTrust.mirrors["docker.io"]: {"rewrite":{"a":"b"}} is not allowed; allowed: a rewrite together with an endpoint',
    ],
    [
      "a pattern that Go does not know",
      { "docker.io": { endpoint: ["https://a"], rewrite: { "(?!a)": "b" } } },
      'nodeTrust.mirrors["docker.io"].rewrite: the key "(?!a)" is not allowed; allowed: a regular expression in Go\'s syntax, which K3s uses',
    ],
    [
      "a pattern that breaks containerd's file",
      { "docker.io": { endpoint: ["https://a"], rewrite: { "a\\.b": "b" } } },
      'nodeTrust.mirrors["docker.io"].rewrite: the key "a\\\\.b" is not allowed; allowed: a regular expression without backslash, quote and line break (K3s would write it unquoted into containerd\'s TOML: [.] stands for \\., [0-9] for \\d)',
    ],
    [
      "a replacement that does",
      { "docker.io": { endpoint: ["https://a"], rewrite: { a: 'b"' } } },
      'nodeTrust.mirrors["docker.io"].rewrite.a: "b\\"" is not allowed; allowed: text without backslash, quote and line break',
    ],
  ])("%s", (_, mirrors, problem) => {
    const problems = problemsOf(stack({ mirrors }));

    expect(problems).toEqual([expect.stringContaining(problem)]);
    expect(problems[0]?.startsWith(problem)).toBe(true);
  });

  test("what K3s takes is taken", () => {
    const mirrors = {
      "*": { endpoint: ["https://nas.lan:5000"] },
      "docker.io": {
        endpoint: ["https://nas.lan/v2/hub", "https://[fd00::10]:5000", "https://my_nas/%20", "https://nas.lan"],
        rewrite: { "^library/(.*)$": "hub/$1", "": "" },
      },
      "10.0.0.1:5000": { endpoint: ["https://10.0.0.1:5000/"] },
      "[fd00::10]:5000": { endpoint: ["https://[fd00::10]:5000"] },
    };

    expect(trustOf(stack({ mirrors })).mirrors).toEqual({
      ...mirrors,
      "*": { ...mirrors["*"], rewrite: {} },
      "10.0.0.1:5000": { ...mirrors["10.0.0.1:5000"], rewrite: {} },
      "[fd00::10]:5000": { ...mirrors["[fd00::10]:5000"], rewrite: {} },
    });
    expect(load(stack({ mirrors })).warnings).toEqual([]);
  });
});

const config = 'nodeTrust.configs["nas.lan"]';
const ONE_LOGIN = "allowed: username with password, or auth alone, or identity_token alone";
const NAS = { mirrors: { "docker.io": { endpoint: ["https://nas.lan"] } } };

describe("configs: what K3s would skip without a word is an error", () => {
  test.each<[string, StackConfig, string]>([
    [
      "a key with a scheme",
      { "https://nas.lan": { tls: { ca_file: "/ca" } } },
      'nodeTrust.configs: the key "https://nas.lan" is not allowed; allowed: host or host:port',
    ],
    ["nothing", { "nas.lan": {} }, `${config}: {} is not allowed; allowed: auth, tls or both`],
    ["no TLS", { "nas.lan": { tls: {} } }, `${config}: {"tls":{}} is not allowed; allowed: auth, tls or both`],
    ["an unknown key", { "nas.lan": { tsl: {} } }, `${config}.tsl: there is no such setting. There are: auth, tls`],
    [
      "an unknown key of tls",
      { "nas.lan": { tls: { cafile: "/ca" } } },
      `${config}.tls.cafile: there is no such setting. There are: ca_file, cert_file`,
    ],
    [
      "an unknown key of auth",
      { "nas.lan": { auth: { user: "me" } } },
      `${config}.auth.user: there is no such setting. Did you mean ${config}.auth.username?`,
    ],
    ["no login", { "nas.lan": { auth: {} } }, `${config}.auth: ${HIDDEN}; ${ONE_LOGIN}`],
    [
      "a name without a password",
      { "nas.lan": { auth: { username: "me" } } },
      `${config}.auth: ${HIDDEN}; ${ONE_LOGIN}`,
    ],
    [
      "a password without a name",
      { "nas.lan": { auth: { password: "hunter2" } } },
      `${config}.auth: ${HIDDEN}; ${ONE_LOGIN}`,
    ],
    [
      "two logins",
      { "nas.lan": { auth: { username: "me", password: "hunter2", identity_token: "t" } } },
      `${config}.auth: ${HIDDEN}; ${ONE_LOGIN}`,
    ],
    [
      "a name that ends early",
      { "nas.lan": { auth: { username: "a:b", password: "hunter2" } } },
      `${config}.auth.username: ${HIDDEN}; allowed: a user's name without ':'`,
    ],
    [
      "a line break",
      { "nas.lan": { auth: { username: "me", password: "hunter2\n" } } },
      `${config}.auth.password: ${HIDDEN}; allowed: a password that is not empty and without control`,
    ],
    [
      "half a character",
      { "nas.lan": { auth: { username: "me", password: "hunter2\ud83d" } } },
      `${config}.auth.password: ${HIDDEN}; allowed: a password that is`,
    ],
    [
      "an empty token",
      { "nas.lan": { auth: { identity_token: "" } } },
      `${config}.auth.identity_token: ${HIDDEN}; allowed: a token`,
    ],
    [
      "auth that is no base64",
      { "nas.lan": { auth: { auth: "me:hunter2" } } },
      `${config}.auth.auth: ${HIDDEN}; allowed: base64 of NAME:PASSWORD`,
    ],
    [
      "auth that is no login",
      { "nas.lan": { auth: { auth: btoa("hunter2") } } },
      `${config}.auth.auth: ${HIDDEN}; allowed: base64 of NAME:PASSWORD`,
    ],
    [
      "auth in the wrong place",
      { "nas.lan": { auth: btoa("me:hunter2") } },
      `${config}.auth: ${HIDDEN}; allowed: object`,
    ],
    [
      "a path that is relative",
      { "nas.lan": { tls: { ca_file: "ca.pem" } } },
      `${config}.tls.ca_file: "ca.pem" is not allowed; allowed: an absolute path on the node`,
    ],
    [
      "a certificate without its key",
      { "nas.lan": { tls: { cert_file: "/c" } } },
      `${config}.tls: {"cert_file":"/c"} is not allowed; allowed: cert_file and key_file together`,
    ],
    [
      "a key without its certificate",
      { "nas.lan": { tls: { key_file: "/k" } } },
      `${config}.tls: {"key_file":"/k"} is not allowed; allowed: cert_file and key_file together`,
    ],
  ])("%s", (_, configs, problem) => {
    const problems = problemsOf(stack({ ...NAS, configs }), WITH_LOGIN);
    // Where nodeTrust holds a login nothing of it is shown: only whether it is missing.
    const shown = problemsOf(stack({ ...NAS, configs })).filter((line) => !line.includes("stands in plain text"));

    expect(problems).toHaveLength(1);
    expect(shown).toEqual([expect.stringContaining(problem)]);
    expect(shown[0]?.startsWith(problem)).toBe(true);
    expect([...problems, ...shown].join()).not.toMatch(/hunter2|aHVudGVyM/);
  });

  test("what K3s takes is taken", () => {
    const configs = {
      "nas.lan": { auth: { username: "yes", password: " : #'\"\\{{ 😀 " }, tls: { ca_file: "/etc/ssl/my ca.pem" } },
      "docker.io": { auth: { auth: btoa("me:with:colons") } },
      "*": { tls: { cert_file: "/c", key_file: "/k", insecure_skip_verify: false } },
    };
    const { nodeTrust, warnings } = load(stack({ ...NAS, configs }), WITH_LOGIN);

    expect(nodeTrust?.configs).toEqual(configs);
    expect(warnings).toEqual([]);
  });
});

describe("secrets", () => {
  const auth = { username: "me", password: "hunter2" };

  test("a login in plain text is refused with the command that encrypts it", () => {
    const configs = {
      "nas.lan": { auth },
      "ghcr.io": { auth: { auth: btoa("me:hunter2") } },
      "a.lan": { auth: { identity_token: "hunter2" } },
    };
    const command = "stands in plain text in the stack file. Set it again with: pulumi config set --secret --path";

    const problems = problemsOf(stack({ ...NAS, configs }));
    expect(problems).toEqual([
      `nodeTrust.configs["nas.lan"].auth.password: ${command} 'nodeTrust.configs["nas.lan"].auth.password'`,
      `nodeTrust.configs["ghcr.io"].auth.auth: ${command} 'nodeTrust.configs["ghcr.io"].auth.auth'`,
      `nodeTrust.configs["a.lan"].auth.identity_token: ${command} 'nodeTrust.configs["a.lan"].auth.identity_token'`,
    ]);
    expect(problemsOf(stack({ ...NAS, configs }), WITH_LOGIN)).toEqual([]);
  });

  test.each([null, "text", { configs: null }, { configs: { "nas.lan": null } }])(
    "%j has no login to look for",
    (nodeTrust) => {
      const problems = problemsOf({ ...stack(), nodeTrust });

      expect(problems.length).toBeGreaterThan(0);
      expect(problems.join()).not.toContain("plain text");
    },
  );

  test.each<[string, StackConfig]>([
    ["a login in a group that is wrong as a whole", { nodes: [SERVER], configs: [{ auth }] }],
    [
      "a key in the place of a certificate",
      { nodes: [SERVER], caCertificate: NODE_KEY.replace("-----BEGIN", "hunter2 -----BEGIN") },
    ],
  ])("%s is not shown", (_, nodeTrust) => {
    const problems = problemsOf({ ...stack(), nodeTrust });

    expect(problems.at(-1)).toContain(`${HIDDEN}; allowed: `);
    expect(problems.join()).not.toMatch(/hunter2|PRIVATE KEY/);
  });

  test("of a nodeTrust that holds one nothing is shown but what is missing", () => {
    const problems = problemsOf(stack({ nodes: [{ host: "Wrong Host", name: "a" }] }), WITH_LOGIN);

    expect(problems).toEqual([
      `nodeTrust.nodes.0.host: ${HIDDEN}; allowed: an IP address or a host name in lower case`,
      expect.stringMatching(/^nodeTrust\.nodes\.0\.hostKey: is missing; allowed: /),
    ]);
  });

  test("the SSH key is secret, and never shown", () => {
    const [plain] = problemsOf(stack(), []);
    const [wrong] = problemsOf(stack({}, { nodeSshPrivateKey: "hunter2" }));

    expect(plain).toBe(
      "nodeSshPrivateKey: stands in plain text in the stack file. Set it again with: pulumi config set --secret nodeSshPrivateKey < FILE",
    );
    expect(wrong).toMatch(
      /^nodeSshPrivateKey: the value is not allowed \(secret, not shown\); allowed: a private key in/,
    );
    expect(wrong).not.toContain("hunter2");
  });

  test("without an SSH key there must be an agent", () => {
    const { nodeSshPrivateKey: _, ...noKey } = stack();

    expect(problemsOf(noKey)).toEqual([
      "nodeSshPrivateKey: is missing, and $SSH_AUTH_SOCK names no SSH agent; allowed: a private key that every node lets in. " +
        "Set it with: pulumi config set --secret nodeSshPrivateKey < FILE",
    ]);
    expect(problemsOf(noKey, SECRET_KEYS, true)).toEqual([]);
    expect(loadSettings({ ...rawConfig(noKey), sshAgent: true }).nodeTrust?.privateKey).toBeUndefined();
  });

  test("a key that nothing uses is worth a warning", () => {
    expect(load({ domain: "a.lan", nodeSshPrivateKey: NODE_KEY, ...NO_LOCALSTACK }).warnings).toEqual([
      "nodeSshPrivateKey: is not used; without nodeTrust no node is touched",
    ]);
  });
});

describe("certificates", () => {
  const issuer = { mode: "cluster-issuer", issuer: "home" };

  test("no TLS would send the login in the clear", () => {
    const others = { access: { mode: "node-port" }, tls: { mode: "none" } };

    expect(problemsOf(stack({}, others))).toEqual([
      'tls.mode: "none" would have nodes send the login in the clear; allowed with nodeTrust: private-ca',
    ]);
  });

  test("a cluster issuer's own CA must be given, and Let's Encrypt's need not be", () => {
    const own = { tls: { ...issuer, acme: false } };
    const acme = { tls: issuer, domain: "home.example.net" };

    expect(problemsOf(stack({}, own))).toEqual([
      "nodeTrust.caCertificate: is missing; allowed: the CA (PEM) behind the cluster issuer, which is not public",
    ]);
    expect(trustOf(stack({ caCertificate: caPem }, own)).caCertificate).toBe(caPem);
    expect(problemsOf(stack({ caCertificate: `${caPem}\n${caPem}` }, own))).toEqual([]);
    expect(problemsOf(stack({}, acme))).toEqual([]);
    expect(problemsOf(stack({ caCertificate: caPem }, acme))).toEqual([]);
  });

  test("with the stack's own CA there is no other", () => {
    expect(problemsOf(stack({ caCertificate: caPem }))).toEqual([
      "nodeTrust.caCertificate: is not allowed with tls.mode private-ca: nodes get the stack's own CA; allowed: nothing",
    ]);
  });
});

describe("hosts.toml has room for the CA and one mirror only", () => {
  const extras = { ...NAS, configs: { "nas.lan": { tls: { ca_file: "/ca" } } } };
  const kind = { ...SERVER, name: "kind", host: "kind.lan", distribution: "containerd" };

  test.each<[string, StackConfig]>([
    ["in mode hosts-toml", { mode: "hosts-toml" }],
    ["with containerd alone", { nodes: [kind] }],
  ])("mirrors and configs are refused %s", (_, nodeTrust) => {
    const why =
      "would be ignored: no node gets a registries.yaml; allowed with nodes of distribution k3s or rke2 and mode registries-yaml";

    expect(problemsOf(stack({ ...extras, ...nodeTrust }))).toEqual([
      `nodeTrust.mirrors: ${why}`,
      `nodeTrust.configs: ${why}`,
    ]);
    expect(problemsOf(stack(nodeTrust))).toEqual([]);
  });

  test("a node among others that does not get them is worth a warning", () => {
    const why = "is not for kind: containerd alone gets hosts.toml, which has no room for it";

    expect(load(stack({ ...extras, nodes: [SERVER, kind] })).warnings).toEqual([
      `nodeTrust.mirrors: ${why}`,
      `nodeTrust.configs: ${why}`,
    ]);
  });
});

describe("the registry's own host", () => {
  const own = (mirror: StackConfig, configs: StackConfig = {}) => stack({ mirrors: { [HOST]: mirror }, configs });
  const tls = { ca_file: "/ca" };

  test("has an endpoint, if it has a mirror", () => {
    expect(problemsOf(own({ endpoint: [] }))).toEqual([
      `nodeTrust.mirrors["${HOST}"].endpoint: is empty; allowed: one endpoint at least, or no mirror of ${HOST} (it is asked itself then)`,
    ]);
  });

  test("is asked by https only, for whichever mirror", () => {
    const problem = (mirror: string, index: number) =>
      `nodeTrust.mirrors["${mirror}"].endpoint.${index}: would have nodes send the login in the clear; allowed for ${HOST}: https://…`;

    expect(problemsOf(own({ endpoint: ["https://10.0.0.5", "http://10.0.0.6"] }))).toEqual([problem(HOST, 1)]);
    expect(problemsOf(stack({ mirrors: { "docker.io": { endpoint: [`http://${HOST}/v2/hub`] } } }))).toEqual([
      problem("docker.io", 0),
    ]);
  });

  test("has its login and CA from the program", () => {
    expect(problemsOf(own({ endpoint: [`https://${HOST}`] }, { [HOST]: { tls } }))).toEqual([
      `nodeTrust.configs["${HOST}"]: is written by the program, as images of ${HOST} come from there: the pull-only login and the CA; allowed: other registries`,
    ]);
  });

  test.each([
    [`${HOST}:443`, [], `${HOST}, which the program writes itself`],
    ["10.0.0.5", ["https://10.0.0.5:30443"], "10.0.0.5:30443"],
    ["10.0.0.5:1", ["https://10.0.0.5:30443/v2", "https://10.0.0.5"], "10.0.0.5:30443, 10.0.0.5"],
    ["[fd00::10]", ["https://[fd00::10]:30443"], "[fd00::10]:30443"],
  ])("is not configured by %s, which no endpoint has", (key, urls, right) => {
    const config =
      urls.length > 0 ? own({ endpoint: urls }, { [key]: { tls } }) : stack({ configs: { [key]: { tls } } });

    expect(problemsOf(config)).toEqual([
      `nodeTrust.configs["${key}"]: no endpoint has this host and port, so K3s would ignore it; allowed: ${right}`,
    ]);
  });

  test("has them at every endpoint", () => {
    expect(problemsOf(own({ endpoint: ["https://cache.lan:5000"] }, { "cache.lan:5000": { tls } }))).toEqual([
      expect.stringMatching(/^nodeTrust\.configs\["cache\.lan:5000"\]: is written by the program, as images of /),
    ]);
  });

  test("shares an address with another registry on another port", () => {
    const others = { access: { mode: "node-port", hosts: ["192.168.1.10"] } };
    const nodeTrust = {
      mirrors: { "192.168.1.10:5000": { endpoint: ["https://192.168.1.10:5000"] } },
      configs: { "192.168.1.10:5000": { tls } },
    };

    expect(load(stack(nodeTrust, others)).warnings).toEqual([]);
    expect(problemsOf(stack({ configs: { "192.168.1.10:5000": { tls } } }, others))).toEqual([
      'nodeTrust.configs["192.168.1.10:5000"]: no endpoint has this host and port, so K3s would ignore it; allowed: ' +
        "192.168.1.10:30500, which the program writes itself",
    ]);
  });
});

describe("other hosts: what K3s allows stays allowed, with a warning", () => {
  test.each<[string, StackConfig, string[]]>([
    [
      "a mirror without an endpoint",
      { mirrors: { "docker.io": {} } },
      ['nodeTrust.mirrors["docker.io"]: has no endpoint; only K3s\'s embedded registry mirror uses it'],
    ],
    [
      "plain http",
      { mirrors: { "docker.io": { endpoint: ["https://a.lan", "http://nas.lan:5000"] } } },
      [`${endpoint}.1: is plain http; images come unprotected, and a login goes in the clear`],
    ],
    [
      "a config that no endpoint has",
      { configs: { "ghcr.io": { tls: { ca_file: "/ca" } } } },
      [
        'nodeTrust.configs["ghcr.io"]: no mirror or endpoint has this host and port; K3s uses it for images of ghcr.io only',
      ],
    ],
    [
      "any certificate",
      { ...NAS, configs: { "nas.lan": { tls: { insecure_skip_verify: true } } } },
      [`${config}.tls.insecure_skip_verify: any certificate will do there`],
    ],
    [
      "Docker Hub's other name",
      {
        mirrors: { "docker.io": { endpoint: ["https://a.lan"] } },
        configs: { "registry-1.docker.io": { tls: { ca_file: "/ca" } } },
      },
      [],
    ],
  ])("%s", (_, nodeTrust, warnings) => {
    expect(load(stack(nodeTrust)).warnings).toEqual(warnings);
  });
});
