import { BlockList, isIP } from "node:net";
import { imageHost } from "./image-host.ts";
import { localstackHost } from "./localstack-host.ts";
import { HOME_RANGES } from "./localstack-schema.ts";
import { parseBytes } from "./quantity.ts";
import type { Config } from "./schema.ts";
import { missingHost, ownVariables } from "./workload-rules.ts";

type Check = (config: Config) => string[];

const TOKEN_MISSING =
  "localstackAuthToken: is missing; allowed with edition pro: the token from app.localstack.cloud. " +
  "Set it with: pulumi config set --secret localstackAuthToken";

/** What is wrong between LocalStack's settings and the others. One line a problem. */
export function localstackChecks(config: Config): string[] {
  if (!config.localstack.enabled) return [];
  const checks: Check[] = [editionChecks, nameChecks, portChecks, sizeChecks];
  return [...checks.flatMap((check) => check(config)), ...ownVariables("localstack", config, OWN_SETTINGS)];
}

function editionChecks({ localstack, localstackAuthToken }: Config): string[] {
  const { edition } = localstack;
  const image = localstack.images.localstack ?? "";
  const official = /(^|\/)localstack\/localstack[:@]/.test(image);
  const problems: string[] = [];
  if (edition === "pro" && !localstackAuthToken) problems.push(TOKEN_MISSING);
  if (edition !== "pro" && localstackAuthToken) {
    problems.push(`localstack.edition: "${edition}" takes no token; allowed with localstackAuthToken: pro`);
  }
  if (edition !== "pro" && (image.includes("localstack/localstack-pro") || (official && needsToken(image)))) {
    problems.push(`localstack.images.localstack: "${image}" exits without a token; allowed with it: edition pro`);
  } else if (edition === "community" && official) {
    problems.push(
      `localstack.images.localstack: "${image}" forgets everything with its pod; allowed: an image with ` +
        'localstack-persist, or edition "ephemeral", which says so',
    );
  }
  if (edition === "pro" && FREE_IMAGES.test(image)) {
    problems.push(
      `localstack.images.localstack: "${image}" is a free one, which the token does not make pro; ` +
        "allowed with edition pro: localstack/localstack-pro, or localstack/localstack of 2026 or later",
    );
  }
  return problems;
}

/** Nothing in these reads a token. */
const FREE_IMAGES = /(^|\/)(gresau\/localstack-persist|localstack\/localstack:4\.(\d|1[0-4])(?!\d))/;

/** The free releases ended with 4.14; what came after is named by its year. Source: blog.localstack.cloud, March 2026. */
const needsToken = (image: string): boolean => /:(\d{4}\.|4\.(1[5-9]|[2-9]\d)|[5-9]\.|stable)/.test(image);

function nameChecks(config: Config): string[] {
  const { localstack, registry, access } = config;
  const problems = missingHost("localstack", config);
  if (access.mode === "ingress" && localstackHost(config) === imageHost(config)) {
    problems.push(`localstack.host: "${localstackHost(config)}" is the registry's; allowed: a name of its own`);
  }
  if (localstack.namespace === registry.namespace) {
    problems.push(
      `localstack.namespace: "${localstack.namespace}" is the registry's, which refuses LocalStack's pod; allowed: another`,
    );
  }
  const handedOut = {
    "localstack.clientNamespaces": localstack.clientNamespaces,
    "registry.pullSecretNamespaces": registry.pullSecretNamespaces,
  };
  for (const [setting, namespaces] of Object.entries(handedOut)) {
    if (!namespaces.includes(localstack.namespace)) continue;
    problems.push(
      `${setting}: "${localstack.namespace}" is LocalStack's own, which has the CA already; allowed: others`,
    );
  }
  return problems;
}

function portChecks({ localstack, access }: Config): string[] {
  if (access.mode !== "node-port" || localstack.port !== access.port) return [];
  return [`localstack.port: ${localstack.port} is the registry's (access.port); allowed: another`];
}

function sizeChecks({ localstack }: Config): string[] {
  const { storage, reserve, services, lambda } = localstack;
  const size = (text: string) => parseBytes(text) ?? 0;
  const inPod = services.includes("lambda") && lambda.mode === "dind";
  const images = inPod ? size(lambda.imageStorage) : 0;
  if (size(reserve) + images < size(storage)) return [];
  const parts = inPod ? "localstack.reserve and localstack.lambda.imageStorage together" : "";
  return [`${parts || `localstack.reserve: "${reserve}"`} must stay below localstack.storage (${storage})`];
}

/** What the program sets by itself, and where that is said instead. */
const OWN_SETTINGS: Record<string, string> = {
  LOCALSTACK_AUTH_TOKEN: "localstackAuthToken",
  LOCALSTACK_HOST: "localstack.host",
  SERVICES: "localstack.services",
  PERSISTENCE: "localstack.edition",
  GATEWAY_LISTEN: "localstack.port",
  USE_SSL: "tls.mode",
  DOCKER_HOST: "localstack.lambda.mode",
  HOSTNAME_FROM_LAMBDA: "localstack.lambda.mode",
  ACTIVATE_PRO: "localstack.edition",
  LOCALSTACK_API_KEY: "localstackAuthToken",
  // What the pod is built on.
  ...Object.fromEntries(
    [
      "STRICT_SERVICE_LOADING",
      "SQS_ENDPOINT_STRATEGY",
      "DNS_ADDRESS",
      "SHUTDOWN_TIMEOUT",
      "PERSIST_BASE_DIR",
      "PERSIST_FREQUENCY",
    ].map((name) => [name, "nothing"]),
  ),
};

/** Whether a range lies within one of the private ones. */
function isPrivate(range: string): boolean {
  const [address = "", prefix] = range.split("/");
  return HOME_RANGES.some((home) => Number(prefix) >= Number(home.split("/")[1]) && contains(home, address));
}

function contains(range: string, address: string): boolean {
  const [start = "", prefix] = range.split("/");
  const family = isIP(start) === 6 ? "ipv6" : "ipv4";
  const list = new BlockList();
  list.addSubnet(start, Number(prefix), family);
  return list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

/** What is allowed and should be known. */
export function localstackWarnings(config: Config): string[] {
  const { localstack, tls, access } = config;
  if (!localstack.enabled) return [];
  const runsCode = localstack.services.includes("lambda") && localstack.lambda.mode !== "none";
  const open = localstack.allowedRanges.filter((range) => !isPrivate(range));
  return [
    `localstack.allowedRanges: LocalStack has no login${runsCode ? ", and Lambda runs code for whoever reaches it" : ""}: ` +
      (open.length > 0
        ? `not only private addresses are let in (${open.join(", ")})`
        : "only private addresses are let in"),
    ...(tls.mode === "cluster-issuer" && access.mode === "ingress" && tls.acme && isIP(localstackHost(config)) === 0
      ? [`tls.issuer: LocalStack's certificate has wildcards (*.${localstackHost(config)}), which need DNS-01`]
      : []),
  ];
}
