import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import { beforeEach, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { NodeTrust } from "../../components/node-trust.ts";
import type { NodeTrustSettings } from "../../config/settings.ts";
import { Engine, isMarkedSecret, type Recorded, settled } from "./mocks.ts";
import { ED25519, NODE_KEY, settingsOf } from "./stacks.ts";

const PASSWORD = "only pulls";

let engine: Engine;

beforeEach(async () => {
  engine = await Engine.start();
});

const NODES = [
  { name: "server-1", host: "192.168.1.11" },
  { name: "server-2", host: "192.168.1.12" },
  { name: "agent-1", host: "192.168.1.21", role: "agent" },
  { name: "agent-2", host: "192.168.1.22", role: "agent", user: "homelab", become: "sudo", port: 2222 },
  { name: "agent-3", host: "192.168.1.23", role: "agent" },
];

function nodeTrust(given: object = {}): NodeTrustSettings {
  const nodes = NODES.map((node) => ({ ...node, hostKey: ED25519 }));
  const { nodeTrust } = settingsOf({
    domain: "homelab.local",
    nodeSshPrivateKey: NODE_KEY,
    nodeTrust: { nodes, ...given },
  });
  if (!nodeTrust) throw new Error("no nodes were configured");
  return nodeTrust;
}

async function trust(given: object = {}, ca: string | null = "CA\n"): Promise<NodeTrust> {
  const component = new NodeTrust("node-trust", {
    settings: nodeTrust(given),
    host: "registry.homelab.local",
    login: { name: "puller-1", password: pulumi.secret(PASSWORD) },
    ca: ca ?? undefined,
  });
  await pulumi.runtime.disconnect();
  return component;
}

const commandOf = (node: string): Recorded => engine.find("Command", `node-trust-${node}`);

/** The value that the script is given for a variable. None of them has a quote in these tests. */
const variable = (node: string, name: string): string =>
  new RegExp(`^${name}='([^']*)'`, "m").exec(commandOf(node).inputs.stdin)?.[1] ?? "";

describe("the roll-out", () => {
  test("a canary, the other agents, the servers one by one: each waits for those before it", async () => {
    await trust();
    const waitsFor = Object.fromEntries(
      NODES.map(({ name }) => [
        name,
        commandOf(name)
          .options.dependsOn.map((other) => other.slice(11))
          .sort(),
      ]),
    );
    expect(waitsFor).toEqual({
      "agent-1": [],
      "agent-2": ["agent-1"],
      "agent-3": ["agent-1"],
      "server-1": ["agent-2", "agent-3"],
      "server-2": ["server-1"],
    });
  });

  test("the first waits for what the component depends on", async () => {
    const before = new random.RandomBytes("before", { length: 1 });
    new NodeTrust(
      "node-trust",
      { settings: nodeTrust(), host: "r.lab", login: { name: "p", password: "p" } },
      { dependsOn: [before] },
    );
    await pulumi.runtime.disconnect();
    expect(commandOf("agent-1").options.dependsOn).toEqual(["before"]);
  });

  test("is never a replacement by itself: no triggers; a forced one removes first", async () => {
    await trust();
    for (const { inputs, options } of engine.all("Command")) {
      expect(inputs.triggers).toBeUndefined();
      expect(inputs.update).toBe(inputs.create);
      expect(options.deleteBeforeReplace).toBe(true);
    }
  });
});

describe("the connection", () => {
  test("is verified by the host key, and gives up in a known time", async () => {
    await trust({ timeLimits: { connect: 5 } });
    expect(commandOf("agent-2").inputs.connection).toEqual({
      ...{ host: "192.168.1.22", port: 2222, user: "homelab", hostKey: ED25519, privateKey: NODE_KEY },
      ...{ perDialTimeout: 5, dialErrorLimit: 3 },
    });
    expect(commandOf("agent-2").inputs.create).toBe("sudo -n sh -s apply");
    expect(commandOf("agent-2").inputs.delete).toBe("sudo -n sh -s remove");
  });

  test("without a key uses the agent's", async () => {
    const settings = { ...nodeTrust(), privateKey: undefined };
    new NodeTrust("node-trust", { settings, host: "r.lab", login: { name: "p", password: "p" } });
    await pulumi.runtime.disconnect();
    expect(commandOf("agent-1").inputs.connection).not.toHaveProperty("privateKey");
  });
});

describe("what a node is told", () => {
  test("registries.yaml with the pull-only login and the CA beside it", async () => {
    await trust();
    expect(parse(variable("server-1", "body"))).toEqual({
      mirrors: { "registry.homelab.local": { endpoint: ["https://registry.homelab.local"] } },
      configs: {
        "registry.homelab.local": {
          auth: { username: "puller-1", password: PASSWORD },
          tls: { ca_file: "/etc/rancher/k3s/homecloud/ca.crt" },
        },
      },
    });
    expect(variable("server-1", "file")).toBe("/etc/rancher/k3s/registries.yaml");
    expect(variable("server-1", "ca")).toBe("CA");
    expect(variable("server-1", "probes")).toBe("https://registry.homelab.local/v2/");
  });

  test("the header names stack and node, the owner the stack alone", async () => {
    await trust();
    expect(variable("server-1", "header")).toMatch(/^# Managed by homecloud, stack homecloud\/test, node server-1: /);
    expect(variable("server-1", "header").startsWith(variable("server-1", "owner"))).toBe(true);
    expect(variable("server-1", "owner")).toBe(variable("agent-1", "owner"));
  });

  test("with a public certificate no CA", async () => {
    await trust({}, null);
    const { configs } = parse(variable("server-1", "body"));
    expect(configs["registry.homelab.local"]).not.toHaveProperty("tls");
    expect(variable("server-1", "ca")).toBe("");
  });

  test("in hosts.toml mode CA and mirror only: no login goes to the node, nothing is restarted", async () => {
    const component = await trust({ mode: "hosts-toml", nodes: [{ ...NODES[0], hostKey: ED25519 }] });
    const node = "server-1.hosts-toml.k3s.registry.homelab.local";
    expect(commandOf(node).inputs.stdin).not.toContain(PASSWORD);
    expect(variable(node, "service")).toBe("");
    expect(variable(node, "body")).toContain('[host."https://registry.homelab.local"]');
    expect(variable(node, "body")).toContain("/certs.d/registry.homelab.local/homecloud/ca.crt");
    expect((await settled(component.nodes))[0]?.trusts).toEqual(["registry.homelab.local"]);
  });

  test("endpoints of the user's own are the ones that are asked", async () => {
    const endpoint = ["https://10.0.0.5:30500", "https://cache.lab/registry/"];
    await trust({ mirrors: { "registry.homelab.local": { endpoint } } });
    expect(variable("server-1", "probes")).toBe("https://10.0.0.5:30500/v2/\nhttps://cache.lab/registry/");
    expect(Object.keys(parse(variable("server-1", "body")).configs)).toEqual([
      ...["registry.homelab.local", "10.0.0.5:30500", "cache.lab"],
    ]);
  });
});

describe("secrets", () => {
  test("the input is one, and nothing is logged", async () => {
    await trust();
    for (const { marked, inputs } of engine.all("Command")) {
      expect(isMarkedSecret(marked.stdin)).toBe(true);
      expect(isMarkedSecret(marked.connection)).toBe(true);
      expect(inputs.logging).toBe("none");
      expect(JSON.stringify({ ...marked, stdin: "", connection: "" })).not.toContain(PASSWORD);
    }
  });

  test("outputs say what is trusted and since when, and are none", async () => {
    engine.stdout = "2026-11-21T10:00:00Z restarted";
    const component = await trust({ mirrors: { "docker.io": { endpoint: ["https://mirror.gcr.io"] } } });
    expect(await pulumi.isSecret(component.nodes)).toBe(false);
    expect((await settled(component.nodes))[0]).toEqual({
      ...{ name: "agent-1", host: "192.168.1.21", provenAt: "2026-11-21T10:00:00Z" },
      trusts: ["registry.homelab.local", "docker.io"],
    });
  });
});
