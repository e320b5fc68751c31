import { describe, expect, test } from "vitest";
import { loadSettings } from "../../config/load.ts";
import type { LocalStackSettings } from "../../config/settings.ts";
import { NO_UI, problemsOf, rawConfig, SHAPES, type StackConfig, settingsOf } from "./stacks.ts";

const HOME = { domain: "homelab.local" };
const TOKEN = "ls-ThisIsTheToken";
const PRO = { localstack: { edition: "pro" }, localstackAuthToken: TOKEN };
const NODE_PORT = { mode: "node-port" };

/** A homelab with these settings of LocalStack, and others where they matter. */
const stack = (localstack: StackConfig, others: StackConfig = {}): StackConfig => ({ ...HOME, ...others, localstack });

function localstackOf(config: StackConfig): LocalStackSettings {
  const { localstack } = settingsOf(config);
  if (!localstack) throw new Error("there is no LocalStack");
  return localstack;
}

describe("defaults", () => {
  test("a domain is all that a K3s homelab must say", () => {
    expect(localstackOf(HOME)).toMatchObject({
      edition: "community",
      namespace: "localstack",
      host: "localstack.homelab.local",
      port: 443,
      region: "us-east-1",
      services: ["s3", "sqs", "sns", "dynamodb", "lambda"],
      environment: {},
      storage: "20Gi",
      limitBytes: 20 * 2 ** 30,
      reserveBytes: 512 * 2 ** 20,
      keepFreeBytes: 2 * 2 ** 30,
      storageClass: "local-path",
      keepDataOnDestroy: true,
      lambda: { mode: "dind", imageStorage: "5Gi", image: "docker.io/library/docker:28.5.2-dind" },
      initScripts: "localstack-init",
      clientNamespaces: [],
      authToken: undefined,
    });
  });

  test("the registry's 30 GB and LocalStack's 20 GB, Lambda's images included, are the 50 GB of both", () => {
    const { registry, localstack } = settingsOf(HOME);

    expect(registry.limitBytes + (localstack?.limitBytes ?? 0)).toBe(50 * 2 ** 30);
  });

  test("LocalStack's own limits are 2Gi and two processors", () => {
    expect(localstackOf(HOME).resources.localstack).toEqual({
      requests: { cpu: "250m", memory: "512Mi" },
      limits: { cpu: "2", memory: "2Gi" },
    });
  });

  test("one limit can be changed without the others", () => {
    const { gate, watch } = localstackOf(stack({ resources: { gate: { limits: { cpu: "2" } } } })).resources;

    expect(gate).toEqual({ requests: { cpu: "50m", memory: "32Mi" }, limits: { cpu: "2", memory: "128Mi" } });
    expect(watch.limits).toEqual({ cpu: "500m", memory: "256Mi" });
  });

  test("it has no login, so only private addresses are let in", () => {
    expect(localstackOf(HOME).allowedRanges).toEqual([
      "10.0.0.0/8",
      "172.16.0.0/12",
      "192.168.0.0/16",
      "169.254.0.0/16",
      "127.0.0.0/8",
      "fc00::/7",
      "fe80::/10",
      "::1/128",
    ]);
    expect(localstackOf(stack({ allowedRanges: ["192.168.1.0/24"] })).allowedRanges).toEqual(["192.168.1.0/24"]);
  });

  test.each([
    ["community", HOME, "docker.io/gresau/localstack-persist:4.14.0"],
    ["pro", { ...HOME, ...PRO }, "docker.io/localstack/localstack-pro:4.14.0"],
    ["ephemeral", stack({ edition: "ephemeral" }), "docker.io/localstack/localstack:4.14.0"],
  ])("%s has an image of its own, unless another is set", (edition, config, image) => {
    const images = { localstack: "nas.lan:5000/mine/localstack-persist:4.14.1" };

    expect(localstackOf(config).images.localstack).toBe(image);
    expect(localstackOf({ ...config, localstack: { edition, images } }).images).toMatchObject(images);
  });

  test("without Lambda there is nothing for functions to run in", () => {
    expect(localstackOf(stack({ services: ["s3", "sqs"] })).lambda).toEqual({ mode: "none" });
    expect(localstackOf(stack({ lambda: { mode: "none" } })).lambda).toEqual({ mode: "none" });
  });

  test("the node's Docker has a socket where Docker has it, and a group that must be told", () => {
    expect(localstackOf(stack({ lambda: { mode: "host-docker", group: 999 } })).lambda).toEqual({
      mode: "host-docker",
      socket: "/var/run/docker.sock",
      group: 999,
    });
  });
});

describe("enabled: false", () => {
  const off = (localstack: StackConfig, others: StackConfig = {}) => stack({ enabled: false, ...localstack }, others);

  test("leaves no settings and no warning", () => {
    const { localstack, warnings } = settingsOf(off({}));

    expect(localstack).toBeUndefined();
    expect(warnings).toEqual([]);
  });

  test.each<[string, StackConfig]>([
    ["an edition without its token", off({ edition: "pro" })],
    ["a token without its edition", off({}, { localstackAuthToken: TOKEN })],
    ["the registry's namespace", off({ namespace: "registry" })],
    ["the registry's name", off({ host: "registry.homelab.local" })],
    ["no name", { registry: { host: "images.example.net" }, localstack: { enabled: false }, ...NO_UI }],
    ["the registry's port", off({ port: 30500 }, { access: NODE_PORT })],
    ["a reserve of everything", off({ reserve: "20Gi" })],
    ["a setting of the program's own", off({ environment: { SERVICES: "s3" } })],
    [
      "a name that no public CA knows",
      off({ host: "aws.lan" }, { domain: "home.example.net", tls: { mode: "cluster-issuer", issuer: "letsencrypt" } }),
    ],
  ])("%s hurts nobody then", (_, config) => {
    expect(problemsOf(config)).toEqual([]);
    expect(problemsOf({ ...config, localstack: { ...(config.localstack as object), enabled: true } })).not.toEqual([]);
  });

  test("what is no setting at all is wrong all the same", () => {
    expect(problemsOf(off({ storage: "lots" }))).toHaveLength(1);
  });
});

describe("a wrong setting is named with its value and what is allowed", () => {
  test.each<[StackConfig, ...string[]]>([
    [{ enabled: "no" }, "enabled", '"no"', "boolean"],
    [{ edition: "free" }, "edition", '"free"', "community, pro, ephemeral"],
    [{ namespace: "Local Stack" }, "namespace", '"Local Stack"', "a Kubernetes name"],
    [{ host: "https://aws.lan" }, "host", '"https://aws.lan"', "a host name in lower case"],
    [{ host: "*.aws.lan" }, "host", '"*.aws.lan"', "a host name in lower case"],
    [{ port: 80 }, "port", "80", "a port from 1024 to 65535"],
    [{ port: 65536 }, "port", "65536", "a port from 1024 to 65535"],
    [{ port: "30566" }, "port", '"30566"', "a port from 1024 to 65535"],
    [{ region: "Frankfurt" }, "region", '"Frankfurt"', "an AWS region, for example us-east-1"],
    [{ region: "eu-central" }, "region", '"eu-central"', "an AWS region, for example us-east-1"],
    [{ services: [] }, "services", "[]", "one service at least"],
    [{ services: "s3,sqs" }, "services", '"s3,sqs"', "array"],
    [{ services: ["S3"] }, "services.0", '"S3"', "a service as LocalStack names it"],
    [{ services: ["s3,sqs"] }, "services.0", '"s3,sqs"', "a service as LocalStack names it"],
    [{ environment: { DEBUG: 1 } }, "environment.DEBUG", "1 is", "text (in quotes where it looks like a number)"],
    [{ environment: ["DEBUG=1"] }, "environment", '["DEBUG=1"]', "object"],
    [{ environment: { "LS LOG": "x" } }, "environment", '"LS LOG"', "the name of an environment variable"],
    [{ environment: { "1ST": "x" } }, "environment", '"1ST"', "the name of an environment variable"],
    [{ storage: "20 GB" }, "storage", '"20 GB"', "a size such as 30Gi"],
    [{ storage: 20 }, "storage", "20", "a size such as 30Gi"],
    [{ reserve: "0" }, "reserve", '"0"', "a size such as 30Gi"],
    [{ keepFree: "a bit" }, "keepFree", '"a bit"', "a size such as 30Gi"],
    [{ storageClass: "" }, "storageClass", '""', "the name of a StorageClass"],
    [{ keepDataOnDestroy: 1 }, "keepDataOnDestroy", "1", "boolean"],
    [{ allowedRanges: [] }, "allowedRanges", "[]", "one address range at least"],
    [{ allowedRanges: ["192.168.1.7"] }, "allowedRanges.0", '"192.168.1.7"', "an address range such as 10.42.0.0/16"],
    [{ allowedRanges: ["10.0.0.0/8", "home"] }, "allowedRanges.1", '"home"', "an address range"],
    [{ allowedRanges: ["fd00::/129"] }, "allowedRanges.0", '"fd00::/129"', "an address range"],
    [{ initScripts: "" }, "initScripts", '""', "a folder of scripts"],
    [{ clientNamespaces: ["A b"] }, "clientNamespaces.0", '"A b"', "a Kubernetes name"],
    [{ clientNamespaces: ["a", "a"] }, "clientNamespaces", '["a","a"]', "each namespace once"],
    [{ monitoringNamespace: "Grafana" }, "monitoringNamespace", '"Grafana"', "a Kubernetes name"],
    [{ nodeSelector: { disk: 1 } }, "nodeSelector.disk", "1", "text (in quotes"],
    [{ tolerations: [{ effect: "Never" }] }, "tolerations.0.effect", '"Never"', "NoSchedule"],
    [{ images: { localstack: "localstack/localstack" } }, "images.localstack", '"localstack/localstack"', "a pinned"],
    [
      { images: { localstack: "docker.io/localstack/localstack:latest" } },
      "images.localstack",
      "localstack:latest",
      "not latest",
    ],
    [{ images: { nginx: "nginx:1.30" } }, "images.nginx", '"nginx:1.30"', "a pinned image with its registry"],
    [{ resources: { watch: { limits: { cpu: 1 } } } }, "resources.watch.limits.cpu", "1 is", "processor time"],
    [{ lambda: { mode: "docker" } }, "lambda.mode", '"docker"', "dind, host-docker, none"],
    [{ lambda: "none" }, "lambda", '"none"', "object"],
    [{ lambda: { mode: "dind", imageStorage: "some" } }, "lambda.imageStorage", '"some"', "a size such as 30Gi"],
    [{ lambda: { mode: "dind", image: "docker:dind" } }, "lambda.image", '"docker:dind"', "a pinned image"],
    [{ lambda: { mode: "host-docker" } }, "lambda.group", "is missing", "the number of the socket's group"],
    [
      { lambda: { mode: "host-docker", group: "docker" } },
      "lambda.group",
      '"docker"',
      "the number of the socket's group",
    ],
    [
      { lambda: { mode: "host-docker", group: 999, socket: "" } },
      "lambda.socket",
      '""',
      "the path of a Docker socket on the node",
    ],
  ])("%j", (localstack, key, value, ...allowed) => {
    const problems = problemsOf(stack(localstack));

    expect(problems).toHaveLength(1);
    expect(problems[0]?.startsWith(`localstack.${key}: `), problems[0]).toBe(true);
    expect(problems[0]).toContain(value);
    expect(problems[0]).toContain("; allowed: ");
    for (const word of allowed) expect(problems[0]).toContain(word);
    expect(problems[0]).not.toMatch(/invalid input|too small|expected/i);
  });
});

describe("an unknown setting is an error", () => {
  test.each<[StackConfig, string, string]>([
    [{ localstak: {} }, "localstak", "Did you mean localstack?"],
    [stack({ storagge: "1Gi" }), "localstack.storagge", "Did you mean localstack.storage?"],
    [stack({ clientNamespace: ["a"] }), "localstack.clientNamespace", "Did you mean localstack.clientNamespaces?"],
    [stack({ images: { redis: "x" } }), "localstack.images.redis", "There are: localstack, nginx"],
    [
      stack({ resources: { lambda: {} } }),
      "localstack.resources.lambda",
      "There are: localstack, gate, uploads, watch",
    ],
    [
      stack({ lambda: { mode: "dind", imageStorag: "1Gi" } }),
      "localstack.lambda.imageStorag",
      "Did you mean localstack.lambda.imageStorage?",
    ],
    [
      stack({ lambda: { mode: "dind", socket: "/run/docker.sock" } }),
      "localstack.lambda.socket",
      "With localstack.lambda.mode host-docker there is.",
    ],
    [
      stack({ lambda: { mode: "host-docker", group: 999, image: "x" } }),
      "localstack.lambda.image",
      "With localstack.lambda.mode dind there is.",
    ],
    [
      stack({ lambda: { mode: "none", group: 999 } }),
      "localstack.lambda.group",
      "With localstack.lambda.mode host-docker there is.",
    ],
    [stack({ lambda: { mode: "none", groop: 999 } }), "localstack.lambda.groop", "There are: mode"],
  ])("%j", (config, key, help) => {
    expect(problemsOf({ ...HOME, ...config })).toEqual([`${key}: there is no such setting. ${help}`]);
  });
});

describe("the token", () => {
  test("in plain text is refused and not shown, and the way to set it is", () => {
    const [problem, ...others] = problemsOf({ ...HOME, ...PRO }, []);

    expect(problem).toContain("localstackAuthToken: stands in plain text in the stack file");
    expect(problem).toContain("pulumi config set --secret localstackAuthToken");
    expect(problem).not.toContain(TOKEN);
    expect(others).toEqual([]);
  });

  test("that is empty is refused", () => {
    expect(problemsOf({ ...HOME, ...PRO, localstackAuthToken: "" })).toEqual([
      "localstackAuthToken: the value is not allowed (secret, not shown); allowed: LocalStack's auth token",
    ]);
  });

  test("in a place where it is no setting is not shown", () => {
    const problems = problemsOf({ ...HOME, ...PRO, localstackAuthTokn: TOKEN });

    expect(problems.join()).toContain("Did you mean localstackAuthToken?");
    expect(problems.join()).not.toContain(TOKEN);
  });

  test.each(["12345", "true", '{"a":1}'])("%j is text like any other", (localstackAuthToken) => {
    expect(localstackOf({ ...HOME, ...PRO, localstackAuthToken }).authToken).toBe(localstackAuthToken);
  });

  test("is missing for pro, and the way to set it is named", () => {
    expect(problemsOf(stack({ edition: "pro" }))).toEqual([
      expect.stringMatching(/^localstackAuthToken: is missing; .*pulumi config set --secret localstackAuthToken$/),
    ]);
  });

  test.each(["community", "ephemeral"])("is nobody's with %s", (edition) => {
    const problems = problemsOf({ ...stack({ edition }), localstackAuthToken: TOKEN });

    expect(problems).toEqual([
      `localstack.edition: "${edition}" takes no token; allowed with localstackAuthToken: pro`,
    ]);
  });
});

describe("edition and image fit together", () => {
  const withImage = (edition: string, localstack: string) =>
    problemsOf({
      ...stack({ edition, images: { localstack } }),
      ...(edition === "pro" ? { localstackAuthToken: TOKEN } : {}),
    });

  test.each([
    "docker.io/localstack/localstack-pro:4.14.0",
    "docker.io/localstack/localstack:2026.3.0",
    "docker.io/localstack/localstack:4.15.0",
    "docker.io/localstack/localstack:4.20.0",
    "docker.io/localstack/localstack:5.0.0",
    "docker.io/localstack/localstack:stable",
    "nas.lan:5000/localstack/localstack:2026.3.0",
  ])("%s exits without a token: pro takes it, the others do not", (image) => {
    expect(withImage("pro", image)).toEqual([]);
    for (const edition of ["community", "ephemeral"]) {
      expect(withImage(edition, image)).toEqual([
        `localstack.images.localstack: "${image}" exits without a token; allowed with it: edition pro`,
      ]);
    }
  });

  test.each([
    "docker.io/localstack/localstack:4.14.0",
    "docker.io/localstack/localstack:4.2.0",
    "docker.io/localstack/localstack:3.8.1",
    "nas.lan:5000/localstack/localstack:4.14.0",
  ])("%s forgets with its pod: ephemeral says so, community promises the contrary", (image) => {
    expect(withImage("ephemeral", image)).toEqual([]);
    expect(withImage("community", image)).toEqual([
      expect.stringMatching(
        /^localstack\.images\.localstack: .* forgets everything with its pod; allowed: .*localstack-persist.*"ephemeral"/,
      ),
    ]);
  });

  test("an image of one's own is taken as it is", () => {
    expect(withImage("community", "nas.lan:5000/mine/localstack:1.0.0")).toEqual([]);
    expect(withImage("community", `nas.lan/mine/localstack@sha256:${"5".repeat(64)}`)).toEqual([]);
  });
});

describe("names, ports and sizes fit together", () => {
  test("an ingress needs a name: a domain, or LocalStack's own", () => {
    const registry = { host: "images.example.net" };

    expect(problemsOf({ registry, ...NO_UI })).toEqual([
      "localstack.host: is missing; allowed: a host name, or a domain (localstack.DOMAIN lies below it), or localstack.enabled: false",
    ]);
    expect(problemsOf({ registry, localstack: { host: "aws.example.net" }, ...NO_UI })).toEqual([]);
    expect(problemsOf({ access: NODE_PORT })).toEqual([]);
  });

  test("without any name only the domain is asked for: it is both their names", () => {
    expect(problemsOf({})).toEqual([expect.stringMatching(/^domain: is missing/)]);
  });

  test.each<[string, StackConfig]>([
    ["default", stack({ host: "registry.homelab.local" })],
    ["set", stack({ host: "images.lan" }, { registry: { host: "images.lan" } })],
    ["set to LocalStack's default", { ...HOME, registry: { host: "localstack.homelab.local" } }],
  ])("the registry's name is the registry's: %s", (_, config) => {
    expect(problemsOf(config)).toEqual([
      expect.stringMatching(/^localstack\.host: ".+" is the registry's; allowed: a name of its own$/),
    ]);
  });

  test("on ports of the nodes both have one name", () => {
    expect(problemsOf({ access: { ...NODE_PORT, hosts: ["nas.lan"] }, localstack: { host: "nas.lan" } })).toEqual([]);
  });

  test("the registry's namespace refuses LocalStack's pod", () => {
    const problem = expect.stringMatching(
      /^localstack\.namespace: "registry" is the registry's, .*; allowed: another$/,
    );

    expect(problemsOf(stack({ namespace: "registry" }))).toEqual([problem]);
    expect(problemsOf(stack({ namespace: "registry" }, { registry: { namespace: "images" } }))).toEqual([]);
  });

  test("its own namespace is no client's: what is handed out there would be made twice", () => {
    const problems = problemsOf(stack({ namespace: "aws", clientNamespaces: ["apps", "aws"] }));

    expect(problems).toEqual([expect.stringMatching(/^localstack\.clientNamespaces: .*aws/)]);
    expect(problemsOf(stack({}, { registry: { pullSecretNamespaces: ["localstack"] } }))).toEqual([
      expect.stringMatching(/^registry\.pullSecretNamespaces: .*localstack/),
    ]);
  });

  test("two Services cannot have one port of the nodes", () => {
    const problem = "localstack.port: 30500 is the registry's (access.port); allowed: another";

    expect(problemsOf({ access: NODE_PORT, localstack: { port: 30500 } })).toEqual([problem]);
    expect(problemsOf({ access: { ...NODE_PORT, port: 30566 } })).toEqual([problem.replace("30500", "30566")]);
    expect(problemsOf(stack({ port: 30500 }))).toEqual([]);
  });

  test.each([
    ["15Gi", "5Gi"],
    ["512Mi", "20Gi"],
    ["16Gi", "16Gi"],
  ])("a reserve of %s and images of %s leave nothing of 20Gi", (reserve, imageStorage) => {
    expect(problemsOf(stack({ reserve, lambda: { mode: "dind", imageStorage } }))).toEqual([
      "localstack.reserve and localstack.lambda.imageStorage together must stay below localstack.storage (20Gi)",
    ]);
  });

  test("images count only where they are", () => {
    const lambda = { mode: "none" };

    expect(problemsOf(stack({ storage: "4Gi", lambda }))).toEqual([]);
    expect(problemsOf(stack({ storage: "4Gi", lambda: { mode: "host-docker", group: 999 } }))).toEqual([]);
    expect(problemsOf(stack({ storage: "4Gi", services: ["s3"] }))).toEqual([]);
    expect(problemsOf(stack({ storage: "4Gi", reserve: "4Gi", lambda }))).toEqual([
      'localstack.reserve: "4Gi" must stay below localstack.storage (4Gi)',
    ]);
  });

  test.each(["homelab.local", "nas.lan"])("Let's Encrypt knows no name below %s, LocalStack's neither", (domain) => {
    const problems = problemsOf({
      domain,
      registry: { host: "registry.example.net" },
      tls: { mode: "cluster-issuer", issuer: "letsencrypt" },
    });

    expect(problems).toEqual([
      expect.stringMatching(`^tls\\.issuer: "letsencrypt" cannot issue for localstack\\.${domain}: `),
    ]);
  });
});

describe("environment", () => {
  test("takes further settings of LocalStack's as text", () => {
    const environment = { S3_SKIP_SIGNATURE_VALIDATION: "0", lower_case: "", DEBUG: "1" };

    expect(localstackOf(stack({ environment })).environment).toEqual(environment);
  });

  test.each([
    ["LOCALSTACK_AUTH_TOKEN", "localstackAuthToken"],
    ["LOCALSTACK_HOST", "localstack.host"],
    ["SERVICES", "localstack.services"],
    ["PERSISTENCE", "localstack.edition"],
    ["GATEWAY_LISTEN", "localstack.port"],
    ["USE_SSL", "tls.mode"],
    ["DOCKER_HOST", "localstack.lambda.mode"],
  ])("%s is the program's: it is said by %s", (name, instead) => {
    const problems = problemsOf(stack({ environment: { [name]: "hunter2" } }));

    expect(problems).toEqual([`localstack.environment.${name}: the program sets it; allowed instead: ${instead}`]);
  });

  test.each(["constructor", "toString", "valueOf"])("%s is a name like any other", (name) => {
    expect(problemsOf(stack({ environment: { [name]: "x" } }))).toEqual([]);
  });
});

describe("names in the certificate and in DNS", () => {
  const names = (config: StackConfig) => {
    const { host, port, certificateNames, dnsNames } = localstackOf(config);
    return { host, port, certificateNames, dnsNames };
  };

  test("an ingress: buckets and functions have names of their own, one label before a wildcard's dot", () => {
    expect(names(HOME)).toEqual({
      host: "localstack.homelab.local",
      port: 443,
      certificateNames: [
        "localstack.homelab.local",
        "*.localstack.homelab.local",
        "*.s3.localstack.homelab.local",
        "*.lambda-url.us-east-1.localstack.homelab.local",
      ],
      dnsNames: ["localstack.homelab.local", "*.localstack.homelab.local"],
    });
  });

  test("functions' names follow the region, and are gone with Lambda", () => {
    expect(names(stack({ region: "eu-central-1" })).certificateNames).toContain(
      "*.lambda-url.eu-central-1.localstack.homelab.local",
    );
    expect(names(stack({ services: ["s3"] })).certificateNames).toEqual([
      "localstack.homelab.local",
      "*.localstack.homelab.local",
      "*.s3.localstack.homelab.local",
    ]);
  });

  test("a name of its own takes the place of localstack.DOMAIN", () => {
    const { host, dnsNames } = names(stack({ host: "aws.example.net" }));

    expect(host).toBe("aws.example.net");
    expect(dnsNames).toEqual(["aws.example.net", "*.aws.example.net"]);
  });

  test("a port of the nodes by name: the first stands in URLs, the others are certified too", () => {
    expect(names({ access: { ...NODE_PORT, hosts: ["nas.lan", "192.168.1.10"] } })).toEqual({
      host: "nas.lan",
      port: 30566,
      certificateNames: ["nas.lan", "*.nas.lan", "*.s3.nas.lan", "*.lambda-url.us-east-1.nas.lan", "192.168.1.10"],
      dnsNames: ["nas.lan", "*.nas.lan"],
    });
  });

  test("a port of the nodes by a name of LocalStack's own: none is certified twice", () => {
    const { host, certificateNames } = names({
      access: { ...NODE_PORT, hosts: ["192.168.1.10", "aws.lan"] },
      localstack: { host: "aws.lan", services: ["s3"] },
    });

    expect(host).toBe("aws.lan");
    expect(certificateNames).toEqual(["aws.lan", "*.aws.lan", "*.s3.aws.lan", "192.168.1.10"]);
  });

  test.each([
    ["IPv4", "192.168.1.10"],
    ["IPv6", "fd00::10"],
  ])("a port of the nodes by %s: nothing can be put in front of an address", (_, address) => {
    expect(names({ access: { ...NODE_PORT, hosts: [address, "nas.lan"] } })).toEqual({
      host: address,
      port: 30566,
      certificateNames: [address, "nas.lan"],
      dnsNames: [],
    });
  });

  test("the port is the setting's on the nodes, and always 443 behind an ingress", () => {
    expect(names({ access: NODE_PORT, localstack: { port: 31000 } }).port).toBe(31000);
    expect(names(stack({ port: 31000 })).port).toBe(443);
  });
});

describe("warnings", () => {
  const warningsOf = (config: StackConfig) => settingsOf(config).warnings;

  test("that there is no login, and what Lambda makes of that", () => {
    expect(warningsOf(HOME)).toEqual([
      "localstack.allowedRanges: LocalStack has no login, and Lambda runs code for whoever reaches it: " +
        "only private addresses are let in",
    ]);
  });

  test.each<[string, StackConfig]>([
    ["no Lambda", { services: ["s3"] }],
    ["functions that do not run", { lambda: { mode: "none" } }],
  ])("Lambda runs nothing with %s", (_, localstack) => {
    expect(warningsOf(stack(localstack))).toEqual([
      "localstack.allowedRanges: LocalStack has no login: only private addresses are let in",
    ]);
  });

  test("that everybody is let in", () => {
    expect(warningsOf(stack({ allowedRanges: ["10.0.0.0/8", "0.0.0.0/0", "::/0"] }))).toEqual([
      expect.stringMatching(/^localstack\.allowedRanges: .*: not only private .* \(0\.0\.0\.0\/0, ::\/0\)$/),
    ]);
  });

  test("that Let's Encrypt proves wildcards by DNS-01 only", () => {
    const { warnings } = settingsOf(SHAPES["ingress, cluster issuer"]);

    expect(warnings).toContain(
      "tls.issuer: LocalStack's certificate has wildcards (*.localstack.home.example.net), which need DNS-01",
    );
    const tls = { mode: "cluster-issuer", issuer: "home-ca", acme: false };
    expect(warningsOf({ ...HOME, tls }).join()).not.toContain("DNS-01");
    expect(warningsOf(HOME).join()).not.toContain("DNS-01");
  });
});

describe("every error at once", () => {
  test("rules that fail together are told together, the registry's too", () => {
    const problems = problemsOf({
      registry: { host: "a.lan", reserve: "30Gi" },
      localstackAuthToken: TOKEN,
      localstack: { namespace: "registry", reserve: "20Gi", environment: { SERVICES: "s3", USE_SSL: "0" } },
    });

    expect(problems.map((line) => line.split(": ")[0])).toEqual([
      "registry.reserve",
      "localstack.edition",
      "localstack.host",
      "localstack.namespace",
      "localstack.reserve and localstack.lambda.imageStorage together must stay below localstack.storage (20Gi)",
      "localstack.environment.SERVICES",
      "localstack.environment.USE_SSL",
      "registryUi.host",
    ]);
  });

  test("what was set with --secret is not shown, though it need not be", () => {
    const secrets = ["localstackAuthToken", "localstack"];
    const load = () => loadSettings(rawConfig(stack({ host: "MY-HOST", storage: "much" }), secrets));

    expect(load).toThrow("localstack.host: the value is not allowed (secret, not shown)");
    expect(load).not.toThrow(/MY-HOST|much/);
  });
});
