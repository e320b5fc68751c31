import { fileURLToPath } from "node:url";
import { expect, test, vi } from "vitest";
import { loadSettings } from "../../config/load.ts";
import { readStackFile } from "../../render/stack-file.ts";
import { ED25519 } from "./stacks.ts";

const SEALED = `
encryptionsalt: v1:abc
config:
  kubernetes:context: homelab
  homecloud:domain: homelab.local
  homecloud:registryPassword:
    secure: v1:cipher
  homecloud:piholePassword:
    secure: v1:cipher
  homecloud:pihole:
    url: http://192.168.1.2
  homecloud:access:
    mode: ingress
    address: 192.168.1.240
`;

const NODES = `
config:
  homecloud:domain: homelab.local
  homecloud:nodeSshPrivateKey:
    secure: v1:cipher
  homecloud:nodeTrust:
    nodes:
      - { name: server-1, host: 192.168.1.10, hostKey: ${ED25519} }
    mirrors:
      docker.io: { endpoint: [https://nas.lan, https://b.lan, https://c.lan] }
    configs:
      nas.lan: { auth: { username: me, password: { secure: v1:cipher } } }
      b.lan: { auth: { auth: { secure: v1:cipher } } }
      c.lan: { auth: { identity_token: { secure: v1:cipher } } }
`;

const PRO = `
config:
  homecloud:domain: homelab.local
  homecloud:localstack: { edition: pro }
  homecloud:localstackAuthToken:
    secure: v1:cipher
`;

const FILES: Record<string, string> = {
  "Pulumi.sealed.yaml": SEALED,
  "Pulumi.nodes.yaml": NODES,
  "Pulumi.pro.yaml": PRO,
  "Pulumi.empty.yaml": "",
};

vi.mock(import("node:fs/promises"), async (original) => {
  const real = await original();
  const readFile = async (path: URL, encoding: BufferEncoding) => {
    const name = fileURLToPath(path).split("/").at(-1) ?? "";
    return FILES[name] ?? (await real.readFile(path, encoding));
  };
  return { ...real, readFile: readFile as unknown as typeof real.readFile };
});

test("a stack file is read as the engine reads it: everything is text, objects are JSON", async () => {
  const { values, undecrypted } = await readStackFile("homecloud", "local");

  expect(JSON.parse(values["homecloud:access"] ?? "")).toMatchObject({ mode: "node-port", port: 30500 });
  expect(undecrypted).toEqual([]);
});

test("what is encrypted counts as not set, so that it is generated", async () => {
  const raw = await readStackFile("homecloud", "sealed");

  expect(raw.undecrypted).toEqual(["homecloud:registryPassword", "homecloud:piholePassword"]);
  expect(raw.values).not.toHaveProperty("homecloud:registryPassword");
  expect(loadSettings(raw).registry.password).toBeUndefined();
});

test("a stack with an encrypted Pi-hole password can be rendered: that password is no part of a manifest", async () => {
  const settings = loadSettings(await readStackFile("homecloud", "sealed"));

  expect(settings.pihole?.url).toBe("http://192.168.1.2");
  expect(JSON.stringify(settings)).not.toContain("cipher");
});

test("a stack with an encrypted LocalStack token can be rendered: there is none to generate, so another stands in", async () => {
  const raw = await readStackFile("homecloud", "pro");

  expect(raw.undecrypted).toEqual(["homecloud:localstackAuthToken"]);
  const { localstack } = loadSettings(raw);
  expect(localstack?.edition).toBe("pro");
  expect(localstack?.authToken).not.toMatch(/cipher|secure/);
});

test("a secret inside a group makes it secret, and does not keep the stack from being rendered", async () => {
  const raw = await readStackFile("homecloud", "nodes");
  const { nodeTrust } = loadSettings(raw);

  expect(raw.undecrypted).toEqual(["homecloud:nodeSshPrivateKey", "homecloud:nodeTrust"]);
  expect(raw.secretKeys).toEqual(raw.undecrypted);
  expect(nodeTrust?.nodes).toMatchObject([{ name: "server-1", hostKey: ED25519 }]);
  expect(Object.keys(nodeTrust?.configs ?? {})).toEqual(["nas.lan", "b.lan", "c.lan"]);
  expect(JSON.stringify(nodeTrust)).not.toMatch(/cipher|secure/);
});

test("no SSH key is asked for where no node is reached: not even an agent", async () => {
  const { nodeTrust } = loadSettings(await readStackFile("homecloud", "nodes"));

  expect(nodeTrust?.privateKey).toBeUndefined();
});

test("an empty stack file sets nothing", async () => {
  expect((await readStackFile("homecloud", "empty")).values).toEqual({});
});

test("a stack without a file is named, and what to do", async () => {
  await expect(readStackFile("homecloud", "nowhere")).rejects.toThrow("there is no Pulumi.nowhere.yaml: name a stack");
});
