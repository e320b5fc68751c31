import { readFileSync } from "node:fs";
import { Ajv } from "ajv";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { loadSettings } from "../../config/load.ts";
import { configSchema } from "../../config/schema.ts";
import { settingsTable, stackFileSchema, withSettingsTable } from "../../config/stack-schema.ts";
import { readStackFile } from "../../render/stack-file.ts";
import { ED25519, NO_LOCALSTACK, NODE_KEY, rawConfig, SHAPES } from "./stacks.ts";

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

// Formats are zod's own patterns too; ajv knows none by itself.
const validate = new Ajv({ allErrors: true, validateFormats: false }).compile(stackFileSchema());

/** Where a stack file with this content is wrong; empty where it is right. */
function wrongIn(file: unknown): string[] {
  validate(file);
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}

describe("the schema for editors", () => {
  test("is the one that is committed: run `npm run schema` after a change of config/schema.ts", () => {
    expect(JSON.parse(read("config/stack.schema.json"))).toEqual(JSON.parse(JSON.stringify(stackFileSchema())));
  });

  test.each(["local", "homelab"])("accepts Pulumi.%s.yaml, and so does the program", async (stack) => {
    expect(wrongIn(parse(read(`Pulumi.${stack}.yaml`)))).toEqual([]);
    expect(loadSettings(await readStackFile("homecloud", stack)).registry.host).toBeTruthy();
  });

  test.each(Object.entries(SHAPES))("accepts a stack with %s", (_, config) => {
    const keys = Object.entries(config).map(([key, value]) => [`homecloud:${key}`, value]);

    expect(wrongIn({ config: Object.fromEntries(keys) })).toEqual([]);
  });

  test("accepts what Pulumi itself writes, and other providers' settings", () => {
    expect(
      wrongIn({
        secretsprovider: "passphrase",
        encryptionsalt: "v1:abc",
        encryptedkey: "abc",
        config: { "kubernetes:context": "homelab", "homecloud:registryPassword": { secure: "v1:abc" } },
      }),
    ).toEqual([]);
    expect(wrongIn({})).toEqual([]);
  });

  test("accepts nodes, and a login where it is encrypted", () => {
    const auth = { username: "me", password: { secure: "v1:abc" }, auth: { secure: "v1:abc" } };
    const configs = { "nas.lan": { auth: { ...auth, identity_token: { secure: "v1:abc" } }, tls: { ca_file: "/ca" } } };
    const nodeTrust = { nodes: [{ name: "a", host: "a.lan", hostKey: ED25519 }], configs };

    expect(wrongIn({ config: { "homecloud:nodeTrust": nodeTrust } })).toEqual([]);
    expect(JSON.stringify(stackFileSchema())).toContain("--path 'nodeTrust.configs[\\\"HOST\\\"].auth.password'");
  });

  test.each([
    [
      "a password in plain text",
      { "homecloud:registryPassword": "hunter2" },
      "/config/homecloud:registryPassword must be",
    ],
    ["an unknown setting", { "homecloud:registyrUser": "me" }, "/config must NOT have additional properties"],
    ["an unknown setting inside", { "homecloud:registry": { size: "1Gi" } }, "/config/homecloud:registry must NOT"],
    [
      "a size that is none",
      { "homecloud:registry": { storage: "lots" } },
      "/config/homecloud:registry/storage must match",
    ],
    [
      "a node without a host key",
      { "homecloud:nodeTrust": { nodes: [{ name: "a", host: "a.lan" }] } },
      "nodes/0 must have",
    ],
    [
      "a login in plain text",
      {
        "homecloud:nodeTrust": { nodes: [], configs: { "nas.lan": { auth: { username: "me", password: "hunter2" } } } },
      },
      "/nas.lan/auth/password must be object",
    ],
    ["an unknown mode", { "homecloud:tls": { mode: "magic" } }, "/config/homecloud:tls"],
    ["a key without a namespace", { domain: "homelab.local" }, "/config must NOT have additional properties"],
  ])("shows %s", (_, config, message) => {
    expect(wrongIn({ config }).join("\n")).toContain(message);
  });

  test("does not know keys that are not Pulumi's", () => {
    expect(wrongIn({ konfig: {} })).toEqual([" must NOT have additional properties"]);
  });
});

describe("Pulumi.homelab.yaml", () => {
  const text = read("Pulumi.homelab.yaml");
  const config = parse(text).config;

  test("names every setting, if only in a comment", () => {
    for (const line of settingsTable().matchAll(/^\| `([\w.[\]]+)` \|/gm)) {
      const key = line[1]?.split(".").at(-1);
      expect(text, line[1]).toMatch(new RegExp(`^[ #-]*(homecloud:)?${key}:|config set .*${key}`, "m"));
    }
  });

  test("says the defaults, but for the domain and the address, which are examples", () => {
    const plain = Object.fromEntries(
      Object.entries(config).map(([key, value]) => [key.replace("homecloud:", ""), value]),
    );
    const { domain, access, ...rest } = configSchema.parse(plain);

    expect(domain).toBe("homelab.local");
    expect(access).toEqual({ ...configSchema.parse({}).access, address: "192.168.1.240" });
    expect(rest).toEqual((({ access: _, ...defaults }) => defaults)(configSchema.parse({})));
  });

  test("shows nodes in a comment that is right once it is none", () => {
    const block = text.slice(text.indexOf("  # homecloud:nodeTrust:"));
    const shown = parse(block.replaceAll(/^ {2}# /gm, "  "))["homecloud:nodeTrust"];
    const { nodeTrust, warnings } = loadSettings(
      rawConfig({ ...SHAPES["ingress, private CA"], ...NO_LOCALSTACK, nodeSshPrivateKey: NODE_KEY, nodeTrust: shown }),
    );
    const { batch, timeLimits, adopt } = configSchema.shape.nodeTrust.unwrap().parse({ nodes: shown.nodes });

    expect(nodeTrust).toMatchObject({ batch, timeLimits, adopt });
    expect(nodeTrust?.mirrors["docker.io"]).toEqual(shown.mirrors["docker.io"]);
    expect(warnings).toEqual([]);
  });

  test("tells editors where the schema is, and people how a password is set", () => {
    expect(text.split("\n")[0]).toBe("# yaml-language-server: $schema=./config/stack.schema.json");
    expect(text).toMatch(/pulumi config set .*--secret registryPassword/);
    expect(text).toMatch(/pulumi config set .*--secret piholePassword/);
    expect(text).toMatch(/pulumi config set .*--secret nodeSshPrivateKey < FILE/);
    expect(text).toMatch(
      /pulumi config set .*--secret --path 'nodeTrust\.configs\["nas\.homelab\.local:5000"\]\.auth\.password'/,
    );
    expect(text).toContain("DNS-01");
  });
});

describe("the table of settings", () => {
  const table = settingsTable();

  test("describes every setting, and tells its default", () => {
    const rows = table.trimEnd().split("\n").slice(2);

    for (const row of rows) expect(row).toMatch(/^\| `[\w.[\]]+` \| (`.+`|must be set|) \| [A-Z].+\. \|$/);
    expect(table).toContain("| `registry.storage` | `30Gi` |");
    expect(table).toContain('`{requests: {cpu: 50m, memory: 32Mi}, limits: {cpu: "1", memory: 256Mi}}`');
    expect(table).toContain("One of `ingress`, `node-port`.");
    expect(table).toContain(
      "| `tls.issuer` | must be set | Name of cert-manager's ClusterIssuer. Mode `cluster-issuer` only. |",
    );
    expect(table).toMatch(/\| `pihole.url` \| {2}\| /);
  });

  test("looks into lists and records", () => {
    expect(table).toMatch(/\| `nodeTrust.nodes` \| {2}\| /);
    expect(table).toMatch(/\| `nodeTrust.nodes\[\].hostKey` \| must be set \| /);
    expect(table).toMatch(/\| `nodeTrust.nodes\[\].port` \| `22` \| /);
    expect(table).toMatch(/\| `nodeTrust.mirrors.HOST.endpoint` \| `\[\]` \| /);
    expect(table).toMatch(/\| `nodeTrust.configs.HOST.auth.password` \| {2}\| /);
    expect(table).toMatch(/\| `nodeTrust.timeLimits.restart` \| `180` \| /);
  });

  test("is the one in the README: run `npm run schema` after a change of config/schema.ts", () => {
    const readme = read("README.md");
    expect(withSettingsTable(readme, settingsTable())).toBe(readme);
    expect(() => withSettingsTable("no marks", settingsTable())).toThrow("no marks");
  });
});
