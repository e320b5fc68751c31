import type { NodeTrustSettings, TrustedNode } from "../../config/settings.ts";
import { renderHostsToml } from "./hosts-toml.ts";
import { placesOf, registriesOf } from "./places.ts";
import { managedEndpoints, managedHeader, renderRegistriesYaml, trustedRegistries } from "./registries-yaml.ts";
import { curlLogin, type NodeVariables } from "./stdin.ts";

/** What every node is to trust. */
export interface Trust {
  /** Project and stack, as a header names them: `homecloud/homelab`. */
  stack: string;
  /** The registry, as image references carry it. */
  host: string;
  /** The user who only pulls. Secret. */
  login: { name: string; password: string };
  /** PEM; undefined where a public CA vouches for the registry. */
  ca: string | undefined;
}

/** The variables of one node's run of node.sh. */
export function nodeVariables(node: TrustedNode, trust: Trust, settings: NodeTrustSettings): NodeVariables {
  const { host, ca } = trust;
  const { service = "", file, caFile, cri, api } = placesOf(node, host);
  const [header = "", ...body] = fileContent(node, trust, settings, ca ? caFile : undefined)
    .trimEnd()
    .split("\n");
  const endpoints = endpointsOf(node, trust, settings).map(probe);
  const last = probe(`https://${host}`);
  const login = node.mode === "hosts-toml" ? undefined : trust.login;
  return {
    node: node.name,
    owner: `# Managed by homecloud, stack ${trust.stack},`,
    header,
    body: body.join("\n"),
    ...{ mode: node.mode, file, service, role: node.role, cri, api, host },
    ca: ca?.trimEnd() ?? "",
    probes: endpoints.join("\n"),
    fallback: endpoints.includes(last) ? "" : last,
    login: login ? curlLogin(login) : "",
    user: login?.name ?? "",
    secrets: login ? [login.password, ...loginsOf(settings)].join("\n") : "",
    registries: node.mode === "hosts-toml" ? registriesOf(node) : "",
    proof_generation: settings.proofGeneration,
    adopt: settings.adopt ? "yes" : "",
    check_limit: settings.timeLimits.check,
    restart_limit: settings.timeLimits.restart,
    proof_limit: settings.timeLimits.proof,
    lock_limit: settings.timeLimits.lock,
  };
}

/** Logins of the user's own that the file holds. None has a line break: the loader refuses control characters. */
function loginsOf({ configs }: NodeTrustSettings): string[] {
  const logins = Object.values(configs).map(({ auth = {} }) => [auth.password, auth.auth, auth.identity_token]);
  return logins.flat().filter((secret) => secret !== undefined);
}

function fileContent(
  node: TrustedNode,
  { stack, host, login }: Trust,
  { mirrors, configs }: NodeTrustSettings,
  caFile: string | undefined,
): string {
  const manager = `${stack}, node ${node.name}`;
  if (node.mode === "registries-yaml") {
    return renderRegistriesYaml(trustedRegistries({ host, login, caFile }, { mirrors, configs }), manager);
  }
  return renderHostsToml({ host, server: `https://${host}`, caFile, header: managedHeader(manager) });
}

function endpointsOf(node: TrustedNode, { host }: Trust, { mirrors }: NodeTrustSettings): string[] {
  return node.mode === "registries-yaml" ? managedEndpoints(host, mirrors) : [`https://${host}`];
}

/** URL that answers a login. K3s and containerd put `/v2` behind an endpoint that has no path of its own. */
function probe(endpoint: string): string {
  const { origin, pathname } = new URL(endpoint);
  return `${origin}${["/", "/v2"].includes(pathname) ? "/v2" : pathname.replace(/\/$/, "")}/`;
}
