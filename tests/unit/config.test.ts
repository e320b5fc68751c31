import { describe, expect, test } from "vitest";
import { ConfigError, loadSettings } from "../../config/load.ts";
import { NO_LOCALSTACK, NO_UI, problemsOf, rawConfig, type StackConfig, settingsOf } from "./stacks.ts";

const HOME = { domain: "homelab.local" };

describe("defaults", () => {
  test("a domain is all that a K3s homelab must say", () => {
    const { registry, tls, access, clusterNames, pihole, cluster } = settingsOf(HOME);

    expect(registry).toMatchObject({
      namespace: "registry",
      host: "registry.homelab.local",
      certificateNames: ["registry.homelab.local"],
      storage: "30Gi",
      limitBytes: 30 * 2 ** 30,
      reserveBytes: 2 ** 30,
      keepFreeBytes: 2 * 2 ** 30,
      storageClass: "local-path",
      keepDataOnDestroy: true,
      user: "homelab",
      password: undefined,
      pullUsers: ["puller-1"],
      pullSecretNamespaces: [],
      localRegistryHosting: true,
    });
    expect(tls).toEqual({ mode: "private-ca", generation: 1 });
    expect(access).toMatchObject({
      mode: "ingress",
      className: "traefik",
      namespace: "kube-system",
      podLabels: { "app.kubernetes.io/name": "traefik" },
      longUploads: false,
      waitForAddress: true,
    });
    expect(clusterNames).toBe("coredns-custom");
    expect(pihole).toBeUndefined();
    expect(cluster).toEqual({ kubeconfig: undefined, context: undefined });
  });

  test("the registry's own limits are 512Mi and half a processor", () => {
    expect(settingsOf(HOME).registry.resources.registry).toEqual({
      requests: { cpu: "100m", memory: "256Mi" },
      limits: { cpu: "500m", memory: "512Mi" },
    });
  });

  test("one limit can be changed without the others", () => {
    const { resources } = settingsOf({ ...HOME, registry: { resources: { gate: { limits: { cpu: "2" } } } } }).registry;

    expect(resources.gate).toEqual({
      requests: { cpu: "50m", memory: "32Mi" },
      limits: { cpu: "2", memory: "256Mi" },
    });
  });

  test("a port of the nodes needs no domain, and stands in image references", () => {
    const { registry } = settingsOf({ access: { mode: "node-port" } });

    expect(registry.host).toBe("127.0.0.1:30500");
    expect(registry.certificateNames).toEqual(["127.0.0.1", "localhost", "registry.registry.svc"]);
  });

  test("the certificate carries the Service's name only where the gate shows it to the web page", () => {
    const namesOf = (config: StackConfig) => settingsOf(config).registry.certificateNames;
    const registry = { namespace: "images" };

    expect(namesOf({ access: { mode: "node-port" }, registry }).at(-1)).toBe("registry.images.svc");
    expect(namesOf({ access: { mode: "node-port" }, ...NO_UI })).toEqual(["127.0.0.1", "localhost"]);
    expect(namesOf({ ...HOME, registry })).toEqual(["registry.homelab.local"]);
  });

  test("an IPv6 address stands in brackets before the port", () => {
    const { registry } = settingsOf({ access: { mode: "node-port", hosts: ["fd00::10"] } });

    expect(registry.host).toBe("[fd00::10]:30500");
    expect(registry.certificateNames).toEqual(["fd00::10", "registry.registry.svc"]);
  });

  test("the registry's name can be another than registry.DOMAIN", () => {
    const config = { registry: { host: "images.example.net" }, ...NO_LOCALSTACK, ...NO_UI };

    expect(settingsOf(config).registry.host).toBe("images.example.net");
  });

  test("other projects' and providers' keys are not ours to judge", () => {
    const raw = rawConfig(HOME);
    raw.values["kubernetes:context"] = "homelab";

    expect(loadSettings(raw).registry.host).toBe("registry.homelab.local");
  });
});

describe("users and passwords", () => {
  test("two generations of the pull user are valid at once", () => {
    expect(settingsOf({ ...HOME, registry: { pullUserGeneration: 4 } }).registry.pullUsers).toEqual([
      "puller-4",
      "puller-3",
    ]);
  });

  test.each(["12345", "true", "null", '{"a":1}', "with spaces: and $igns", "ü".repeat(36), "x".repeat(72)])(
    "%j is a password like any other",
    (password) => {
      expect(settingsOf({ ...HOME, registryPassword: password }).registry.password).toBe(password);
    },
  );

  test.each([
    ["empty", "", "a password that is not empty"],
    ["73 bytes", "x".repeat(73), "72 bytes at most"],
    ["37 letters of two bytes", "ü".repeat(37), "72 bytes at most"],
    ["two lines", "one\ntwo", "without control characters"],
  ])("a password is refused that is %s, and not shown", (_, password, allowed) => {
    const problems = problemsOf({ ...HOME, registryPassword: password });

    expect(problems).toEqual([
      expect.stringMatching(/^registryPassword: the value is not allowed \(secret, not shown\)/),
    ]);
    expect(problems[0]).toContain(allowed);
    if (password) expect(problems[0]).not.toContain(password);
  });

  test.each(["registryPassword", "piholePassword", "nodeSshPrivateKey", "localstackAuthToken"])(
    "%s in plain text is refused, and not shown",
    (key) => {
      const problems = problemsOf({ ...HOME, pihole: { url: "http://10.0.0.2" }, [key]: "hunter2" }, []);

      expect(problems.join("\n")).toContain(`${key}: stands in plain text in the stack file`);
      expect(problems.join("\n")).toContain(`pulumi config set --secret ${key}`);
      expect(problems.join("\n")).not.toContain("hunter2");
    },
  );

  test("whatever was set with --secret is not shown, though it need not be secret", () => {
    const problems = problemsOf({ domain: "Not A Domain", registry: { host: "NOT-A-HOST" } }, ["domain", "registry"]);

    expect(problems).toHaveLength(2);
    expect(problems.join("\n")).not.toMatch(/not a domain|not-a-host/i);
    expect(problems[0]).toMatch(/^domain: .*not shown/);
    expect(problems[1]).toMatch(/^registry\.host: .*not shown/);
  });
});

describe("a wrong setting is named with its value and what is allowed", () => {
  test.each<[StackConfig, ...string[]]>([
    [{ domain: "Home Lab" }, "domain", '"Home Lab"', "a host name in lower case"],
    [{ domain: "-x.local" }, "domain", '"-x.local"', "a host name"],
    [{ registryUser: "home:lab" }, "registryUser", '"home:lab"', "no ':'"],
    [{ registryUser: "" }, "registryUser", '""', "letters, digits"],
    [{ registryUser: "$user" }, "registryUser", '"$user"', "letters, digits"],
    [{ kubeconfig: "" }, "kubeconfig", '""', "the path of a kubeconfig"],
    [{ kubeContext: "" }, "kubeContext", '""', "the name of a context"],
    [{ clusterNames: "hosts" }, "clusterNames", '"hosts"', "coredns-custom, none"],
    [{ registry: "big" }, "registry", '"big"', "object"],
    [{ registry: { namespace: "My_Registry" } }, "registry.namespace", '"My_Registry"', "a Kubernetes name"],
    [{ registry: { storage: "lots" } }, "registry.storage", '"lots"', "a size such as 30Gi"],
    [{ registry: { storage: "30 GB" } }, "registry.storage", '"30 GB"', "a size such as 30Gi"],
    [{ registry: { storage: "0" } }, "registry.storage", '"0"', "a size such as 30Gi"],
    [{ registry: { storage: 30 } }, "registry.storage", "30", "a size such as 30Gi"],
    [{ registry: { keepFree: "1e9" } }, "registry.keepFree", '"1e9"', "a size such as 30Gi"],
    [{ registry: { storageClass: "" } }, "registry.storageClass", '""', "the name of a StorageClass"],
    [{ registry: { keepDataOnDestroy: "yes" } }, "registry.keepDataOnDestroy", '"yes"', "boolean"],
    [{ registry: { pullUserGeneration: 0 } }, "registry.pullUserGeneration", "0", "a whole number from 1 on"],
    [{ registry: { pullUserGeneration: 1.5 } }, "registry.pullUserGeneration", "1.5", "a whole number from 1 on"],
    [{ registry: { pullSecretNamespaces: ["A b"] } }, "registry.pullSecretNamespaces.0", '"A b"', "a Kubernetes name"],
    [
      { registry: { pullSecretNamespaces: ["a", "a"] } },
      "registry.pullSecretNamespaces",
      '["a","a"]',
      "each namespace once",
    ],
    [{ registry: { nodeSelector: { disk: 1 } } }, "registry.nodeSelector.disk", "1", "text (in quotes"],
    [{ registry: { nodeSelector: { "a.b/c": 1 } } }, 'registry.nodeSelector["a.b/c"]', "1", "text (in quotes"],
    [{ registry: { nodeSelector: [] } }, "registry.nodeSelector", "[]", "object"],
    [{ registry: { keepFormerPullUser: "no" } }, "registry.keepFormerPullUser", '"no"', "boolean"],
    [{ registry: { tolerations: [{ operator: "Has" }] } }, "registry.tolerations.0.operator", '"Has"', "Exists, Equal"],
    [{ registry: { images: { nginx: "nginx" } } }, "registry.images.nginx", '"nginx"', "a pinned image"],
    [
      { registry: { images: { registry: "docker.io/library/registry:latest" } } },
      "registry.images.registry",
      '"docker.io/library/registry:latest"',
      "not latest",
    ],
    [
      { registry: { resources: { gate: { limits: { cpu: 1 } } } } },
      "registry.resources.gate.limits.cpu",
      "1 is",
      "processor time such as 500m",
    ],
    [
      { registry: { resources: { gate: { limits: { memory: "much" } } } } },
      "registry.resources.gate.limits.memory",
      '"much"',
      "a size such as",
    ],
    [{ tls: { mode: "self-signed" } }, "tls.mode", '"self-signed"', "cluster-issuer, private-ca, none"],
    [{ tls: { mode: "cluster-issuer" } }, "tls.issuer", "is missing", "the name of a ClusterIssuer"],
    [{ access: { mode: "host-port" } }, "access.mode", '"host-port"', "ingress, node-port"],
    [{ access: "ingress" }, "access", '"ingress"', "object"],
    [{ access: { mode: "ingress", address: "nas" } }, "access.address", '"nas"', "an IP address"],
    [
      { access: { mode: "ingress", trustedProxies: ["10.42.0.0"] } },
      "access.trustedProxies.0",
      '"10.42.0.0"',
      "an address range such as 10.42.0.0/16",
    ],
    [
      { access: { mode: "ingress", trustedProxies: ["999.0.0.0/99"] } },
      "access.trustedProxies.0",
      '"999.0.0.0/99"',
      "an address range",
    ],
    [{ access: { mode: "node-port", port: 80 } }, "access.port", "80", "a port from 1024 to 65535"],
    [{ access: { mode: "node-port", port: "30500" } }, "access.port", '"30500"', "a port from 1024"],
    [{ access: { mode: "node-port", hosts: [] } }, "access.hosts", "[]", "one name or address at least"],
    [{ access: { mode: "node-port", hosts: ["a b"] } }, "access.hosts.0", '"a b"', "an IP address or a host name"],
    [{ pihole: { url: "192.168.1.2" } }, "pihole.url", '"192.168.1.2"', "an address such as http://192.168.1.2"],
    [{ pihole: {} }, "pihole.url", "is missing", "an address such as http://192.168.1.2"],
  ])("%j", (config, key, value, ...allowed) => {
    const problems = problemsOf({ ...HOME, ...config });

    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(new RegExp(`^${key?.replaceAll(/[.[\]]/g, "\\$&")}: `));
    expect(problems[0]).toContain(value);
    expect(problems[0]).toContain("; allowed: ");
    for (const word of allowed) expect(problems[0]).toContain(word);
    expect(problems[0]).not.toMatch(/invalid input|too small|expected/i);
  });
});

describe("an unknown key is an error", () => {
  test.each<[StackConfig, string, string]>([
    [{ registyrUser: "me" }, "registyrUser", "Did you mean registry"],
    [{ registryPasword: "hunter2" }, "registryPasword", "Did you mean registryPassword?"],
    [{ storage: "30Gi" }, "storage", "There are: kubeconfig, kubeContext, domain, registryUser"],
    [{ registry: { storagge: "30Gi" } }, "registry.storagge", "Did you mean registry.storage?"],
    [{ registry: { images: { ui: "x" } } }, "registry.images.ui", "There are: registry, nginx"],
    [
      { registry: { resources: { gate: { limit: {} } } } },
      "registry.resources.gate.limit",
      "Did you mean registry.resources.gate.limits?",
    ],
    [{ tls: { mode: "private-ca", issuer: "x" } }, "tls.issuer", "With tls.mode cluster-issuer there is."],
    [{ tls: { mode: "cluster-issuer", issuer: "x", isuer: "y" } }, "tls.isuer", "There are: mode, issuer, acme"],
    [{ access: { mode: "node-port", address: "10.0.0.1" } }, "access.address", "With access.mode ingress there is."],
  ])("%j", (config, key, help) => {
    const problems = problemsOf({ ...HOME, ...config });

    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(`${key}: there is no such setting. `);
    expect(problems[0]).toContain(help);
    expect(problems[0]).not.toContain("hunter2");
  });
});

test("a group of settings without a mode has its default one: `pulumi config set --path` writes none", () => {
  const { tls, access, localstack } = settingsOf({
    ...HOME,
    tls: { generation: 2 },
    access: { address: "192.168.1.240" },
    localstack: { lambda: { imageStorage: "2Gi" } },
  });

  expect(tls).toEqual({ mode: "private-ca", generation: 2 });
  expect(access).toMatchObject({ mode: "ingress", address: "192.168.1.240" });
  expect(localstack).toMatchObject({ lambda: { mode: "dind", imageStorage: "2Gi" } });
});

describe("settings must fit together", () => {
  test("an ingress needs a name: a domain, or the registry's own", () => {
    expect(problemsOf({})).toEqual([expect.stringMatching(/^domain: is missing; allowed: .*homelab\.local/)]);
    expect(problemsOf({ registry: { host: "images.example.net" }, ...NO_LOCALSTACK, ...NO_UI })).toEqual([]);
    expect(problemsOf({ access: { mode: "node-port" } })).toEqual([]);
  });

  test.each(["homelab.local", "home.arpa", "nas.lan", "lab.internal", "my.home", "a.test"])(
    "Let's Encrypt for %s is refused, and both ways out are named",
    (domain) => {
      const problems = problemsOf({ domain, tls: { mode: "cluster-issuer", issuer: "letsencrypt" } });

      expect(problems).toHaveLength(1);
      expect(problems[0]).toContain(`tls.issuer: "letsencrypt" cannot issue for registry.${domain}`);
      expect(problems[0]).toContain("DNS-01");
      expect(problems[0]).toContain("private-ca");
    },
  );

  test("a cluster issuer is fine with a public name, or where it is a private CA", () => {
    const tls = { mode: "cluster-issuer", issuer: "ca" };

    expect(problemsOf({ domain: "home.example.net", tls })).toEqual([]);
    expect(problemsOf({ domain: "mylocal.net", tls })).toEqual([]);
    expect(problemsOf({ ...HOME, tls: { ...tls, acme: false } })).toEqual([]);
  });

  test("a cluster issuer needs an ingress", () => {
    const config = { access: { mode: "node-port" }, tls: { mode: "cluster-issuer", issuer: "letsencrypt" } };

    expect(problemsOf(config)).toEqual([expect.stringMatching(/^tls\.mode: "cluster-issuer".*private-ca, none$/)]);
  });

  test.each<[string, StackConfig]>([
    ["an ingress", HOME],
    ["an address of the home network", { access: { mode: "node-port", hosts: ["192.168.1.10"] } }],
    ["a name of the home network", { access: { mode: "node-port", hosts: ["localhost", "nas.lan"] } }],
  ])("no TLS is refused with %s", (_, config) => {
    expect(problemsOf({ ...config, tls: { mode: "none" } })).toEqual([
      expect.stringMatching(/^tls\.mode: "none" would send passwords in the clear; allowed only with .*loopback/),
    ]);
  });

  test.each(["127.0.0.1", "127.8.8.8", "::1", "localhost", "registry.localhost"])("no TLS is fine on %s", (host) => {
    expect(problemsOf({ access: { mode: "node-port", hosts: [host] }, tls: { mode: "none" } })).toEqual([]);
  });

  test.each(["4Gi", "5Gi"])("a reserve of %s leaves nothing of 4Gi", (reserve) => {
    expect(problemsOf({ ...HOME, registry: { storage: "4Gi", reserve } })).toEqual([
      `registry.reserve: "${reserve}" is not allowed; allowed: less than registry.storage (4Gi)`,
    ]);
  });

  test.each(["puller-1", "puller-27", "Puller-1"])("%s cannot push: nobody could tell it from a pull user", (user) => {
    expect(problemsOf({ ...HOME, registryUser: user })).toEqual([
      expect.stringMatching(new RegExp(`^registryUser: "${user}" is not allowed; allowed: .*puller-1`)),
    ]);
  });

  test("a name that only looks like a pull user's may push", () => {
    expect(problemsOf({ ...HOME, registryUser: "pullers-1" })).toEqual([]);
    expect(problemsOf({ ...HOME, registryUser: "axb-1", registry: { pullUser: "a.b" } })).toEqual([]);
  });

  test("Pi-hole needs its address, its password and the ingress's address", () => {
    const pihole = { url: "http://192.168.1.2" };
    const access = { mode: "ingress", address: "192.168.1.240" };

    expect(problemsOf({ ...HOME, access, pihole })).toEqual([expect.stringMatching(/^piholePassword: is missing/)]);
    expect(problemsOf({ ...HOME, access, piholePassword: "x" })).toEqual([
      expect.stringMatching(/^pihole\.url: is missing/),
    ]);
    expect(problemsOf({ ...HOME, pihole, piholePassword: "x" })).toEqual([
      expect.stringMatching(/^access\.address: is missing/),
    ]);
    expect(settingsOf({ ...HOME, access, pihole, piholePassword: "x" }).pihole).toEqual({ ...pihole, password: "x" });
  });
});

describe("every error at once", () => {
  test("one run names all of them, and the stack", () => {
    const load = () =>
      loadSettings(
        rawConfig(
          {
            domain: "Home Lab",
            registryUser: "a:b",
            registryPassword: "hunter2",
            registry: { storage: "lots", colour: "blue" },
            tls: { mode: "magic" },
          },
          [],
        ),
      );

    expect(load).toThrow(ConfigError);
    expect(load).toThrow("6 settings are wrong in the configuration of stack test:\n  - ");
    for (const key of ["domain", "registryUser", "registryPassword", "registry.storage", "registry.colour", "tls.mode"])
      expect(load).toThrow(`  - ${key}: `);
    expect(load).not.toThrow("hunter2");
  });

  test("rules that fail together are told together", () => {
    const problems = problemsOf({
      registryUser: "puller-1",
      registry: { reserve: "30Gi" },
      tls: { mode: "none" },
    });

    expect(problems.map((line) => line.split(":")[0])).toEqual([
      "domain",
      "tls.mode",
      "registry.reserve",
      "registryUser",
    ]);
  });

  test("one alone is told in the singular", () => {
    expect(() => loadSettings(rawConfig({}))).toThrow("1 setting is wrong in the configuration of stack test:\n");
  });
});
