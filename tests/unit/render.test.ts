import { X509Certificate } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as pulumi from "@pulumi/pulumi";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { parse } from "yaml";
import { GeneratedValues } from "../../render/generated-values.ts";
import { MockEngine, plain } from "../../render/mock-engine.ts";
import { LEFT_OUT, type Manifest, type Rendered, render } from "../../render/render.ts";
import { ED25519, NODE_KEY, SHAPES, type StackConfig, settingsOf } from "./stacks.ts";

vi.mock(import("bcryptjs"), async (original) => (await import("./bcrypt-once.ts")).once(await original(), "04"));

vi.spyOn(pulumi.log, "warn").mockResolvedValue();

/** How the SDK marks a secret. Source: @pulumi/pulumi/runtime/rpc.js */
const SECRET = { "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270" };
const DAY = 24 * 3_600_000;
const NODE_PORT = SHAPES["node port, private CA"];

let folder: string;
let generated: GeneratedValues;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "homecloud-unit-"));
  generated = await GeneratedValues.open(join(folder, "values.json"));
});

afterEach(() => {
  vi.useRealTimers();
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

const rendered = (config: StackConfig, secrets = true): Promise<Rendered> =>
  render(settingsOf(config), generated, { project: "homecloud", stack: "test", secrets });

/** The rendered object of this kind and name. */
function find({ manifests }: Rendered, kind: string, name: string): Manifest {
  const found = manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);
  if (!found) throw new Error(`no ${kind} ${name} is rendered`);
  return found;
}

const stringData = (result: Rendered, name: string) =>
  find(result, "Secret", name).stringData as Record<string, string>;

const serverCertificate = (result: Rendered) =>
  new X509Certificate(stringData(result, "registry-tls")["tls.crt"] ?? "");

const caCertificate = (result: Rendered) => new X509Certificate(String(result.outputs.caCertificate));

describe("what is rendered", () => {
  test("the same from run to run, object for object, in the same order", async () => {
    expect(await rendered(NODE_PORT)).toEqual(await rendered(NODE_PORT));
  });

  test("what others need comes first", async () => {
    const kinds = (await rendered(SHAPES["ingress, private CA"])).manifests.map(({ kind }) => kind);

    const order = ["Namespace", "PersistentVolumeClaim", "NetworkPolicy", "ConfigMap", "Secret", "Deployment"];
    expect([...new Set(kinds)]).toEqual([...order, "Service", "Ingress"]);
  });

  test("kinds that nothing needs come last", async () => {
    const { manifests } = await rendered({ domain: "homelab.local", access: { mode: "ingress", longUploads: true } });

    expect(manifests.at(-1)?.kind).toBe("HelmChartConfig");
  });

  test("whole Kubernetes objects and nothing of Pulumi's", async () => {
    const { manifests } = await rendered({ domain: "a.lab", access: { mode: "ingress", waitForAddress: false } });

    for (const { apiVersion, kind, metadata } of manifests) {
      expect(apiVersion).toMatch(/^([a-z0-9.]+\/)?v1$/);
      expect(kind).toMatch(/^[A-Z]/);
      expect(metadata.name).toBeTruthy();
    }
    expect(JSON.stringify(manifests)).not.toMatch(/pulumi\.com|4dabf18193072939515e22adb298388d|\[object /);
  });

  test("an annotation that is left empty is left out", async () => {
    const { metadata } = find(await rendered(NODE_PORT), "Deployment", "registry");

    expect(metadata).not.toHaveProperty("annotations");
  });
});

describe("secrets", () => {
  test("are left out unless asked for; which keys a Secret has is none", async () => {
    const { manifests } = await rendered(NODE_PORT, false);
    const secrets = manifests.filter(({ kind }) => kind === "Secret");

    expect(secrets.map(({ metadata }) => metadata.name)).toEqual([
      "localstack-tls",
      "registry-ui-tls",
      "registry-client",
      "registry-config",
      "registry-tls",
      "registry-users",
    ]);
    for (const secret of secrets)
      expect(new Set(Object.values(secret.stringData as object))).toEqual(new Set([LEFT_OUT]));
    expect(Object.keys(secrets[4]?.stringData as object)).toEqual(["tls.crt", "tls.key"]);
    const { outputs } = await rendered(NODE_PORT);
    for (const text of [outputs.registryPassword, outputs.registryPullPassword, "PRIVATE KEY", "$2y$"])
      expect(JSON.stringify(manifests)).not.toContain(text);
  });

  test("are the very same that the outputs tell, where asked for", async () => {
    const result = await rendered({ ...NODE_PORT, registry: { pullSecretNamespaces: ["default"] } });
    const login = JSON.parse(stringData(result, "registry-pull")[".dockerconfigjson"] ?? "").auths["127.0.0.1:30500"];

    expect(login).toMatchObject({ username: "puller-1", password: result.outputs.registryPullPassword });
    expect(result.outputs.registryPassword).toMatch(/^[A-Za-z0-9]{32}$/);
  });

  test.each([
    [{ ...SECRET, value: "x" }, "gone"],
    [
      { ...SECRET, value: { a: "x", b: "y" } },
      { a: "gone", b: "gone" },
    ],
    [{ list: [{ ...SECRET, value: "x" }, 1] }, { list: ["gone", 1] }],
    [null, null],
  ])("%j without secrets is %j", (input, expected) => {
    expect(plain(input, "gone")).toEqual(expected);
  });

  test("are unwrapped at every depth", () => {
    expect(plain({ a: [{ ...SECRET, value: { ...SECRET, value: "x" } }] })).toEqual({ a: ["x"] });
  });
});

describe("certificates", () => {
  test("are what TLS clients accept: signed by the CA, for every name", async () => {
    const result = await rendered(NODE_PORT);
    const server = serverCertificate(result);

    expect(server.checkIssued(caCertificate(result))).toBe(true);
    expect(server.verify(caCertificate(result).publicKey)).toBe(true);
    expect(server.checkHost("localhost")).toBe("localhost");
    expect(server.checkIP("127.0.0.1")).toBe("127.0.0.1");
  });

  test("are kept for two thirds of their life, then renewed; the CA stays", async () => {
    const before = await rendered(NODE_PORT);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 240 * DAY });
    expect(await rendered(NODE_PORT)).toEqual(before);

    vi.setSystemTime(Date.now() + 10 * DAY);
    const after = await rendered(NODE_PORT);
    expect(serverCertificate(after).fingerprint).not.toBe(serverCertificate(before).fingerprint);
    expect(serverCertificate(after).verify(caCertificate(before).publicKey)).toBe(true);
    expect(after.outputs.caCertificate).toBe(before.outputs.caCertificate);
    expect(checksumOf(after)).not.toBe(checksumOf(before));
  });

  test("are all renewed with the CA", async () => {
    const before = await rendered(NODE_PORT);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 7 * 365 * DAY });

    const after = await rendered(NODE_PORT);
    expect(after.outputs.caCertificate).not.toBe(before.outputs.caCertificate);
    expect(serverCertificate(after).verify(caCertificate(after).publicKey)).toBe(true);
  });

  test("are made anew for another name", async () => {
    const result = await rendered({ access: { mode: "node-port", hosts: ["127.0.0.1", "nas.lan"] } });

    expect(serverCertificate(result).checkHost("nas.lan")).toBe("nas.lan");
    expect(serverCertificate(result).checkHost("localhost")).toBeUndefined();
  });
});

test("what the render cannot answer is an error, not a guess", async () => {
  const engine = new MockEngine(generated);

  expect(() => engine.call({ token: "kubernetes:yaml:decode" } as pulumi.runtime.MockCallArgs)).toThrow(
    "the render answers no provider function: kubernetes:yaml:decode",
  );
});

describe("npm run render", () => {
  const cli = fileURLToPath(new URL("../../render/cli.ts", import.meta.url));
  const run = (...args: string[]) => execa(process.execPath, [cli, ...args], { cwd: folder, reject: false });

  test("writes one file an object, for its owner only, and no secret", async () => {
    const { exitCode, stdout } = await run("--stack", "local");

    expect(exitCode).toBe(0);
    expect(stdout).toContain("secrets left out");
    const files = await readdir(join(folder, "rendered/local"));
    expect(files).toEqual(expect.arrayContaining(["00-namespace-localstack.yaml", "01-namespace-registry.yaml"]));
    const users = join(folder, "rendered/local", files.find((name) => name.endsWith("-registry-users.yaml")) ?? "");
    expect(parse(await readFile(users, "utf8")).stringData).toEqual({ htpasswd: LEFT_OUT });
    expect((await stat(users)).mode & 0o777).toBe(0o600);
  });

  test("without a stack says how it is used", async () => {
    const { exitCode, stdout } = await run();

    expect(exitCode).toBe(2);
    expect(stdout).toContain("npm run render -- --stack NAME");
  });

  test("an unknown stack is one sentence, not a stack trace", async () => {
    const { exitCode, stderr } = await run("--stack", "nowhere");

    expect(exitCode).toBe(1);
    expect(stderr).toBe("there is no Pulumi.nowhere.yaml: name a stack that has one with --stack");
  });
});

const checksumOf = (result: Rendered) =>
  JSON.stringify(find(result, "Deployment", "registry").spec).match(/checksum":"(\w+)/)?.[1];

describe("nodes", () => {
  const agent = { name: "pi", host: "192.168.1.21", role: "agent", user: "me", become: "sudo", port: 2222 };
  const nodes = [{ name: "k3s-1", host: "192.168.1.11" }, agent].map((node) => ({ ...node, hostKey: ED25519 }));
  const config = { domain: "homelab.local", nodeSshPrivateKey: NODE_KEY, nodeTrust: { nodes } };

  test("what they would be told over SSH, in order", async () => {
    const { nodes: runs, outputs } = await rendered(config);

    expect(runs.map(({ stdin, ...rest }) => rest)).toEqual([
      { name: "pi", target: "me@192.168.1.21", port: 2222, command: "sudo -n sh -s apply" },
      { name: "k3s-1", target: "root@192.168.1.11", port: 22, command: "sh -s apply" },
    ]);
    expect(runs[0]?.stdin).toContain(String(outputs.registryPullPassword));
  });

  test("without secrets, nothing that could be run", async () => {
    const { nodes: runs } = await rendered(config, false);

    expect(runs.map(({ stdin }) => stdin)).toEqual([LEFT_OUT, LEFT_OUT]);
  });
});

describe("a new generation of the CA", () => {
  const next = { ...NODE_PORT, tls: { mode: "private-ca", generation: 2 } };
  const split = (pem: string) => pem.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? [];

  test("leads from the server's certificate to the new CA, and to the one before", async () => {
    const former = caCertificate(await rendered(NODE_PORT));
    const result = await rendered(next);
    const current = caCertificate(result);
    const chain = stringData(result, "registry-tls")["tls.crt"] ?? "";
    const [server = "", cross = ""] = split(chain);
    expect(chain, "nginx reads no certificate that begins within a line").not.toMatch(/[^\n]-----BEGIN/);

    expect(current.subject).not.toBe(former.subject);
    expect(new X509Certificate(server).verify(current.publicKey)).toBe(true);
    expect(new X509Certificate(cross).subject).toBe(current.subject);
    expect(new X509Certificate(cross).publicKey.equals(current.publicKey)).toBe(true);
    expect(new X509Certificate(cross).verify(former.publicKey)).toBe(true);
    expect(new X509Certificate(cross).ca).toBe(true);
  });

  test("keeps what the one before was", async () => {
    const former = caCertificate(await rendered(NODE_PORT));
    await rendered(next);

    expect(caCertificate(await rendered(NODE_PORT)).fingerprint256).toBe(former.fingerprint256);
  });
});
