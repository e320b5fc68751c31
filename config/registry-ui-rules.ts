import { imageHost } from "./image-host.ts";
import { localstackHost } from "./localstack-host.ts";
import { registryUiHostName } from "./registry-ui-host.ts";
import type { Config } from "./schema.ts";
import { missingHost, ownVariables } from "./workload-rules.ts";

/** What is wrong between the web page's settings and the others. One line a problem. */
export function registryUiChecks(config: Config): string[] {
  if (!config.registryUi.enabled) return [];
  return [...nameChecks(config), ...portChecks(config), ...ownVariables("registryUi", config, OWN_SETTINGS)];
}

function nameChecks(config: Config): string[] {
  const { registryUi, registry, localstack, access } = config;
  const problems = missingHost("registryUi", config);
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
