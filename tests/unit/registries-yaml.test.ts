import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import {
  configKey,
  type ManagedRegistry,
  managedEndpoints,
  managedHeader,
  managedKeys,
  type RegistriesYaml,
  renderRegistriesYaml,
  trustedRegistries,
} from "../../components/node-trust/registries-yaml.ts";
import { acceptedTrust, anyRegistries, inFull, managedRegistry } from "../trust-settings.ts";

const HOST = "registry.homelab.local";
const CA = "/etc/rancher/k3s/homecloud/ca.crt";
const MANAGED: ManagedRegistry = { host: HOST, login: { name: "puller-1", password: "s3cret" }, caFile: CA };
const OWN = { auth: { username: "puller-1", password: "s3cret" }, tls: { ca_file: CA } };
const NOTHING: RegistriesYaml = { mirrors: {}, configs: {} };

describe("what a node is told", () => {
  test("the registry itself: one mirror, one login, the CA", () => {
    expect(trustedRegistries(MANAGED, NOTHING)).toEqual({
      mirrors: { [HOST]: { endpoint: [`https://${HOST}`], rewrite: {} } },
      configs: { [HOST]: OWN },
    });
  });

  test("no CA where a public one vouches for the registry", () => {
    expect(trustedRegistries({ ...MANAGED, caFile: undefined }, NOTHING).configs).toEqual({
      [HOST]: { auth: OWN.auth },
    });
  });

  test("a port of the nodes is part of the name", () => {
    expect(trustedRegistries({ ...MANAGED, host: "[fd00::10]:30500" }, NOTHING)).toEqual({
      mirrors: { "[fd00::10]:30500": { endpoint: ["https://[fd00::10]:30500"], rewrite: {} } },
      configs: { "[fd00::10]:30500": OWN },
    });
  });

  test("the login for each of the registry's endpoints, and for itself, which K3s asks when none of them answers", () => {
    const endpoint = ["https://cache.lan:5000/v2/home", `https://${HOST}:443`];
    const rewrite = { "^(.*)$": "home/$1" };
    const { mirrors, configs } = trustedRegistries(MANAGED, {
      mirrors: { [HOST]: { endpoint, rewrite } },
      configs: {},
    });

    expect(mirrors).toEqual({ [HOST]: { endpoint, rewrite } });
    expect(configs).toEqual({ [HOST]: OWN, "cache.lan:5000": OWN, [`${HOST}:443`]: OWN });
  });

  test("the login and the CA of an endpoint are never the user's", () => {
    const mirrors = { [MANAGED.host]: { endpoint: ["https://cache.lan"], rewrite: {} } };
    const { configs } = trustedRegistries(MANAGED, {
      mirrors,
      configs: { "cache.lan": { tls: { ca_file: "/own.crt" } } },
    });

    expect(configs["cache.lan"]).toEqual(configs[MANAGED.host]);
  });

  test("the registry first, then the user's own", () => {
    const mirrors = {
      "docker.io": { endpoint: ["https://nas.lan"], rewrite: {} },
      "ghcr.io": { endpoint: [], rewrite: {} },
    };
    const configs = { "nas.lan": { auth: { username: "me", password: "x" } } };
    const all = trustedRegistries(MANAGED, { mirrors, configs });

    expect(Object.keys(all.mirrors)).toEqual([HOST, "docker.io", "ghcr.io"]);
    expect(all.mirrors).toMatchObject(mirrors);
    expect(all.configs).toEqual({ [HOST]: OWN, ...configs });
  });
});

describe("where nodes ask", () => {
  test("the registry itself, unless the user says otherwise", () => {
    expect(managedEndpoints(HOST, {})).toEqual([`https://${HOST}`]);
    expect(managedEndpoints(HOST, { [HOST]: { endpoint: [], rewrite: {} } })).toEqual([`https://${HOST}`]);
    expect(managedEndpoints(HOST, { [HOST]: { endpoint: ["https://a", "https://b"], rewrite: {} } })).toEqual([
      "https://a",
      "https://b",
    ]);
    expect(managedEndpoints("constructor", {})).toEqual(["https://constructor"]);
  });

  test.each([
    ["https://nas.lan", "nas.lan"],
    ["https://nas.lan:443/v2", "nas.lan:443"],
    ["http://[fd00::10]:5000/", "[fd00::10]:5000"],
    ["nas.lan", ""],
  ])("K3s looks for the config of %s under %s", (url, key) => {
    expect(configKey(url)).toBe(key);
  });

  test("each key once", () => {
    expect(
      managedKeys(HOST, { [HOST]: { endpoint: [`https://${HOST}/`, "https://a", "https://a/v2/x"], rewrite: {} } }),
    ).toEqual([HOST, "a"]);
  });
});

describe("the file", () => {
  test("says who manages it, and quotes all text", () => {
    const mirrors = {
      "docker.io": { endpoint: ["https://nas.lan"], rewrite: { "^yes$": "no" } },
      "*": { endpoint: [], rewrite: {} },
    };
    const configs = { "nas.lan": { tls: { insecure_skip_verify: true } } };

    expect(
      renderRegistriesYaml(trustedRegistries(MANAGED, { mirrors, configs }), "homecloud/homelab, node server-1"),
    ).toBe(
      `# Managed by homecloud, stack homecloud/homelab, node server-1: changes made here are lost at the next pulumi up.
"mirrors":
  "registry.homelab.local":
    "endpoint":
      - "https://registry.homelab.local"
  "docker.io":
    "endpoint":
      - "https://nas.lan"
    "rewrite":
      "^yes$": "no"
  "*": {}
"configs":
  "registry.homelab.local":
    "auth":
      "username": "puller-1"
      "password": "s3cret"
    "tls":
      "ca_file": "/etc/rancher/k3s/homecloud/ca.crt"
  "nas.lan":
    "tls":
      "insecure_skip_verify": true
`,
    );
  });

  test("begins with the header that a later run knows it by", () => {
    expect(renderRegistriesYaml(NOTHING, "homelab")).toBe(`${managedHeader("homelab")}\n{}\n`);
  });

  test.each(["", "home\nlab", "home\u2028lab", "heimlabör"])(
    "has no header with %j: it would not be one line everywhere",
    (manager) => {
      expect(() => renderRegistriesYaml(NOTHING, manager)).toThrow(
        `no manager can be called ${JSON.stringify(manager)}`,
      );
    },
  );

  test("writes what is the same for two endpoints twice: an alias is nothing for a person to read", () => {
    const mirrors = { [HOST]: { endpoint: ["https://a", "https://b"], rewrite: {} } };
    const text = renderRegistriesYaml(trustedRegistries(MANAGED, { mirrors, configs: {} }), "homelab");

    expect(text.match(/s3cret/g)).toHaveLength(3);
    expect(text).not.toMatch(/[&*]a1/);
  });

  test("is refused for half a character, without a word of the password", () => {
    const render = (password: string) =>
      renderRegistriesYaml({ mirrors: {}, configs: { a: { auth: { username: "me", password } } } }, "homelab");

    expect(() => render("hunter2\ud83d")).toThrow("text with half of a surrogate pair cannot be written to a file");
    expect(() => render("hunter2\ude00")).not.toThrow("hunter2");
    expect(render("hunter2😀")).toContain('"hunter2😀"');
  });

  test("escapes what ends a line, or is allowed nowhere, in YAML 1.1", () => {
    const text = renderRegistriesYaml(
      { mirrors: { "\x7f\x85\x9f\u2028\u2029\ufeff\ufffe\uffff\n": { endpoint: [], rewrite: {} } }, configs: {} },
      "a",
    );

    expect(text).toContain('"\\u007f\\u0085\\u009f\\u2028\\u2029\\ufeff\\ufffe\\uffff\\n": {}');
  });

  test("is read back as it was meant, for all settings that the loader accepts", () => {
    fc.assert(
      fc.property(managedRegistry, acceptedTrust, (managed, extra) => {
        const content = trustedRegistries(managed, extra);

        expect(readBack(renderRegistriesYaml(content, "homelab"))).toEqual(inFull(content));
      }),
    );
  });

  test("is read back as it was meant, for all text", () => {
    fc.assert(
      fc.property(anyRegistries, (content) => {
        expect(readBack(renderRegistriesYaml(content, "homelab"))).toEqual(inFull(content));
      }),
    );
  });
});

const readBack = (text: string) => inFull(parse(text, { version: "1.1" }));
