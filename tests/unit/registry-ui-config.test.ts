import { describe, expect, test } from "vitest";
import { CATALOG_LIMIT } from "../../components/registry/distribution.ts";
import { pageEnvironment } from "../../components/registry-ui/pod.ts";
import type { RegistryUiSettings } from "../../config/settings.ts";
import { NO_LOCALSTACK, problemsOf, SHAPES, type StackConfig, settingsOf } from "./stacks.ts";

const HOME = SHAPES["ingress, private CA"];
const NODE_PORT = { mode: "node-port", hosts: ["nas.lan", "192.168.1.10"] };

/** A stack with these settings of the page. */
const stack = (registryUi: StackConfig, others: StackConfig = HOME) => ({ ...others, registryUi });

function uiOf(config: StackConfig): RegistryUiSettings {
  const { registryUi } = settingsOf(config);
  if (!registryUi) throw new Error("there is no web page");
  return registryUi;
}

describe("defaults", () => {
  test("the page is there, below the domain, and deletes nothing", () => {
    expect(uiOf(HOME)).toMatchObject({
      namespace: "registry-ui",
      host: "registry-ui.homelab.local",
      hostName: "registry-ui.homelab.local",
      certificateNames: ["registry-ui.homelab.local"],
      allowDelete: false,
      environment: {},
      images: { page: "docker.io/joxit/docker-registry-ui:2.6.0" },
    });
  });

  test("on ports of the nodes it has the hosts' names and a port of its own", () => {
    expect(uiOf({ access: NODE_PORT })).toMatchObject({
      host: "nas.lan:30501",
      hostName: "nas.lan",
      certificateNames: ["nas.lan", "192.168.1.10"],
    });
    expect(uiOf({ access: { mode: "node-port", hosts: ["fd00::10"] } }).host).toBe("[fd00::10]:30501");
    expect(uiOf(stack({ host: "images.lan", port: 31000 }, { access: NODE_PORT }))).toMatchObject({
      host: "images.lan:31000",
      certificateNames: ["images.lan", "nas.lan", "192.168.1.10"],
    });
  });

  test("its name can be another than registry-ui.DOMAIN", () => {
    expect(uiOf(stack({ host: "images.example.net" })).host).toBe("images.example.net");
  });

  test("where it is off there are no settings, whatever else they say", () => {
    expect(settingsOf(stack({ enabled: false, namespace: "registry" })).registryUi).toBeUndefined();
  });
});

describe("what the page is told", () => {
  const told = (registryUi: StackConfig = {}) => pageEnvironment(uiOf(stack(registryUi)), "registry.homelab.local");

  test("one registry, below its own name, pulled from by the registry's", () => {
    expect(told()).toMatchObject({
      REGISTRY_URL: "",
      SINGLE_REGISTRY: "true",
      PULL_URL: "registry.homelab.local",
      REGISTRY_TITLE: "registry.homelab.local",
      NGINX_LISTEN_PORT: "8090",
    });
  });

  test("as many repositories as the registry lists at once, which is well above ten thousand", () => {
    expect(told().CATALOG_ELEMENTS_LIMIT).toBe(String(CATALOG_LIMIT));
    expect(CATALOG_LIMIT).toBeGreaterThanOrEqual(50_000);
  });

  test("to show no button that deletes, unless that is allowed", () => {
    expect(told().DELETE_IMAGES).toBe("false");
    expect(told({ allowDelete: true }).DELETE_IMAGES).toBe("true");
  });

  test("to ask nobody outside for a newer version", () => {
    expect(told().ENABLE_VERSION_NOTIFICATION).toBe("false");
  });

  test("people's own settings, over the defaults", () => {
    const environment = { THEME: "dark", REGISTRY_TITLE: "at home", TAGLIST_PAGE_SIZE: "20" };
    expect(told({ environment })).toMatchObject(environment);
  });
});

describe("a wrong setting is named with its value and what is allowed", () => {
  test.each<[StackConfig, string, string]>([
    [{ enabled: "no" }, "enabled", "boolean"],
    [{ namespace: "Registry UI" }, "namespace", "a Kubernetes name"],
    [{ host: "Images" }, "host", "a host name"],
    [{ port: 443 }, "port", "a port from 1024 to 65535"],
    [{ allowDelete: "writer" }, "allowDelete", "boolean"],
    [{ environment: { "A-B": "x" } }, "environment", "the name of an environment variable"],
    [{ environment: { TAGLIST_PAGE_SIZE: 20 } }, "environment.TAGLIST_PAGE_SIZE", "text without"],
    [{ environment: { REGISTRY_TITLE: "cats ~ dogs" } }, "environment.REGISTRY_TITLE", "text without ~ &"],
    [{ environment: { REGISTRY_TITLE: "cats & dogs" } }, "environment.REGISTRY_TITLE", "text without ~ &"],
    [{ environment: { REGISTRY_TITLE: '"><script>' } }, "environment.REGISTRY_TITLE", "text without ~ &"],
    [{ environment: { REGISTRY_TITLE: "two\nlines" } }, "environment.REGISTRY_TITLE", "text without ~ &"],
    [{ images: { page: "joxit/docker-registry-ui" } }, "images.page", "a pinned image"],
    [{ resources: { page: { limits: { cpu: 1 } } } }, "resources.page.limits.cpu", "processor time"],
  ])("%j", (registryUi, key, allowed) => {
    const problems = problemsOf(stack(registryUi));

    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(new RegExp(`^registryUi[.]${key}: .*; allowed: ${allowed}`, "s"));
  });
});

describe("settings must fit together", () => {
  test("behind an ingress it needs a name: a domain, or one of its own", () => {
    const registry = { host: "images.example.net" };

    expect(problemsOf({ registry, ...NO_LOCALSTACK })).toEqual([
      "registryUi.host: is missing; allowed: a host name, or a domain (registry-ui.DOMAIN lies below it), or registryUi.enabled: false",
    ]);
    expect(problemsOf({ registry, ...NO_LOCALSTACK, registryUi: { host: "ui.example.net" } })).toEqual([]);
    expect(problemsOf({ registry, ...NO_LOCALSTACK, registryUi: { enabled: false } })).toEqual([]);
  });

  test("without any name only the domain is asked for: it is all their names", () => {
    expect(problemsOf({})).toEqual([expect.stringMatching(/^domain: is missing/)]);
  });

  test.each(["registry.homelab.local", "localstack.homelab.local"])("%s is another's", (host) => {
    expect(problemsOf(stack({ host }))).toEqual([
      `registryUi.host: "${host}" is another workload's; allowed: a name of its own`,
    ]);
    expect(problemsOf(stack({ host, enabled: false }))).toEqual([]);
  });

  test.each(["registry", "localstack"])("the namespace %s is another's", (namespace) => {
    expect(problemsOf(stack({ namespace }))).toEqual([
      `registryUi.namespace: "${namespace}" is another workload's; allowed: one of its own`,
    ]);
  });

  test("nothing is LocalStack's where there is none", () => {
    const config = stack({ host: "localstack.homelab.local", namespace: "localstack" }, { ...HOME, ...NO_LOCALSTACK });
    expect(problemsOf(config)).toEqual([]);
  });

  test.each([
    [30500, "access.port"],
    [30566, "localstack.port"],
  ])("on ports of the nodes %i is taken", (port, by) => {
    const localstack = { localstack: { port: 30566 } };
    expect(problemsOf(stack({ port }, { access: NODE_PORT, ...localstack }))).toEqual([
      `registryUi.port: ${port} is taken by ${by}; allowed: another`,
    ]);
    expect(problemsOf(stack({ port }, { ...HOME, ...localstack }))).toEqual([]);
  });

  test("Let's Encrypt knows public names only, the page's too", () => {
    const problems = problemsOf(stack({ host: "images.lan" }, SHAPES["ingress, cluster issuer"]));
    expect(problems).toEqual([expect.stringContaining("cannot issue for images.lan: Let's Encrypt")]);
  });

  test.each([
    ["DELETE_IMAGES", "registryUi.allowDelete"],
    ["REGISTRY_URL", "nothing"],
    ["SINGLE_REGISTRY", "nothing"],
    ["PULL_URL", "registry.host"],
    ["CATALOG_ELEMENTS_LIMIT", "nothing"],
    ["NGINX_LISTEN_PORT", "nothing"],
    ["NGINX_PROXY_PASS_URL", "nothing"],
  ])("%s is the program's own to say", (name, instead) => {
    expect(problemsOf(stack({ environment: { [name]: "x", THEME: "dark" } }))).toEqual([
      `registryUi.environment.${name}: the program sets it; allowed instead: ${instead}`,
    ]);
  });
});
