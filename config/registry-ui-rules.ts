import { imageHost } from "./image-host.ts";
import { localstackHost } from "./localstack-host.ts";
import { registryUiHostName } from "./registry-ui-host.ts";
import type { Config } from "./schema.ts";

/** What is wrong between the web page's settings and the others. One line a problem. */
export function registryUiChecks(config: Config): string[] {
  if (!config.registryUi.enabled) return [];
  return [...nameChecks(config), ...portChecks(config), ...environmentChecks(config)];
}

function nameChecks(config: Config): string[] {
  const { registryUi, registry, localstack, domain, access } = config;
  const problems: string[] = [];
  if (access.mode === "ingress" && registry.host && !domain && !registryUi.host) {
    problems.push(
      "registryUi.host: is missing; allowed: a host name, or a domain (registry-ui.DOMAIN lies below it), or registryUi.enabled: false",
    );
  }
  const name = registryUiHostName(config);
  const others = [imageHost(config), ...(localstack.enabled ? [localstackHost(config)] : [])];
  if (access.mode === "ingress" && others.includes(name)) {
    problems.push(`registryUi.host: "${name}" is another workload's; allowed: a name of its own`);
  }
  const namespaces = [registry.namespace, ...(localstack.enabled ? [localstack.namespace] : [])];
  if (namespaces.includes(registryUi.namespace)) {
    problems.push(`registryUi.namespace: "${registryUi.namespace}" is another workload's; allowed: one of its own`);
  }
  return problems;
}

function portChecks({ registryUi, localstack, access }: Config): string[] {
  if (access.mode !== "node-port") return [];
  const taken: Record<string, number> = { "access.port": access.port };
  if (localstack.enabled) taken["localstack.port"] = localstack.port;
  return Object.entries(taken)
    .filter(([, port]) => port === registryUi.port)
    .map(([setting, port]) => `registryUi.port: ${port} is taken by ${setting}; allowed: another`);
}

/** What the program sets by itself, and where that is said instead. */
const OWN_SETTINGS: Record<string, string> = {
  DELETE_IMAGES: "registryUi.allowDelete",
  REGISTRY_URL: "nothing",
  SINGLE_REGISTRY: "nothing",
  PULL_URL: "registry.host",
  CATALOG_ELEMENTS_LIMIT: "nothing",
  NGINX_LISTEN_PORT: "nothing",
  NGINX_PROXY_PASS_URL: "nothing",
};

function environmentChecks({ registryUi }: Config): string[] {
  return Object.keys(registryUi.environment)
    .filter((name) => Object.hasOwn(OWN_SETTINGS, name))
    .map((name) => `registryUi.environment.${name}: the program sets it; allowed instead: ${OWN_SETTINGS[name]}`);
}
