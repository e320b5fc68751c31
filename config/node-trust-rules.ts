import { configKey, managedKeys } from "../components/node-trust/registries-yaml.ts";
import { imageHost } from "./image-host.ts";
import { type Config, setCommand } from "./schema.ts";
import { settingName } from "./setting-name.ts";

/** A stack that has nodes to trust it. */
type Trusting = Config & { nodeTrust: NonNullable<Config["nodeTrust"]> };

const isTrusting = (config: Config): config is Trusting => config.nodeTrust !== undefined;

/** What is wrong with nodeTrust beside the other settings. `sshAgent` says whether there is one. */
export function nodeTrustChecks(config: Config, sshAgent: boolean): string[] {
  if (!isTrusting(config)) return [];
  return [
    ...keyChecks(config, sshAgent),
    ...certificateChecks(config),
    ...modeChecks(config),
    ...managedMirrorChecks(config),
    ...managedConfigChecks(config),
  ];
}

/** What K3s allows, and nobody means for long. One line each. */
export function nodeTrustWarnings(config: Config): string[] {
  if (!isTrusting(config)) {
    return config.nodeSshPrivateKey ? ["nodeSshPrivateKey: is not used; without nodeTrust no node is touched"] : [];
  }
  return [...modeWarnings(config), ...mirrorWarnings(config), ...configWarnings(config)];
}

function keyChecks({ nodeSshPrivateKey }: Trusting, sshAgent: boolean): string[] {
  if (nodeSshPrivateKey || sshAgent) return [];
  return [
    "nodeSshPrivateKey: is missing, and $SSH_AUTH_SOCK names no SSH agent; allowed: a private key that every node lets in. " +
      `Set it with: ${setCommand("nodeSshPrivateKey")}`,
  ];
}

function certificateChecks({ tls, nodeTrust: { caCertificate } }: Trusting): string[] {
  if (tls.mode === "none") {
    return ['tls.mode: "none" would have nodes send the login in the clear; allowed with nodeTrust: private-ca'];
  }
  if (tls.mode === "private-ca" && caCertificate) {
    return [
      "nodeTrust.caCertificate: is not allowed with tls.mode private-ca: nodes get the stack's own CA; allowed: nothing",
    ];
  }
  if (tls.mode === "cluster-issuer" && !tls.acme && !caCertificate) {
    return [
      "nodeTrust.caCertificate: is missing; allowed: the CA (PEM) behind the cluster issuer, which is not public",
    ];
  }
  return [];
}

/** Nodes that get no registries.yaml. */
const withoutFile = ({ nodeTrust: { mode, nodes } }: Trusting) =>
  nodes.filter(({ distribution }) => mode === "hosts-toml" || distribution === "containerd");

const extras = ({ nodeTrust }: Trusting) =>
  (["mirrors", "configs"] as const).filter((part) => Object.keys(nodeTrust[part]).length > 0);

function modeChecks(config: Trusting): string[] {
  if (withoutFile(config).length < config.nodeTrust.nodes.length) return [];
  return extras(config).map(
    (part) =>
      `nodeTrust.${part}: would be ignored: no node gets a registries.yaml; allowed with nodes of distribution k3s or rke2 and mode registries-yaml`,
  );
}

function modeWarnings(config: Trusting): string[] {
  const names = withoutFile(config).map(({ name }) => name);
  if (names.length === 0) return [];
  return extras(config).map(
    (part) =>
      `nodeTrust.${part}: is not for ${names.join(", ")}: containerd alone gets hosts.toml, which has no room for it`,
  );
}

/** Every endpoint, with the name of its setting and the registry that it is a mirror of. */
function endpoints({ nodeTrust: { mirrors } }: Trusting): { at: string; mirror: string; url: string }[] {
  return Object.entries(mirrors).flatMap(([mirror, { endpoint }]) =>
    endpoint.map((url, index) => ({
      at: settingName(["nodeTrust", "mirrors", mirror, "endpoint", index]),
      mirror,
      url,
    })),
  );
}

const managedOf = (config: Trusting): string[] => managedKeys(imageHost(config), config.nodeTrust.mirrors);

function managedMirrorChecks(config: Trusting): string[] {
  const host = imageHost(config);
  const { mirrors } = config.nodeTrust;
  const problems = endpoints(config)
    .filter(
      ({ mirror, url }) => url.startsWith("http:") && (mirror === host || managedOf(config).includes(configKey(url))),
    )
    .map(({ at }) => `${at}: would have nodes send the login in the clear; allowed for ${host}: https://…`);
  if (Object.hasOwn(mirrors, host) && mirrors[host]?.endpoint.length === 0) {
    const at = settingName(["nodeTrust", "mirrors", host, "endpoint"]);
    problems.push(`${at}: is empty; allowed: one endpoint at least, or no mirror of ${host} (it is asked itself then)`);
  }
  return problems;
}

function managedConfigChecks(config: Trusting): string[] {
  const host = imageHost(config);
  const managed = managedOf(config);
  return Object.keys(config.nodeTrust.configs).flatMap((key) => {
    const at = ["nodeTrust", "configs", key];
    if (managed.includes(key)) {
      return [
        `${settingName(at)}: is written by the program, as images of ${host} come from there: the pull-only login and the CA; allowed: other registries`,
      ];
    }
    const meant = managed.filter((known) => portAside(known) === portAside(key));
    if (meant.length === 0 || isUsed(config, key)) return [];
    const right = meant.includes(host) ? `${host}, which the program writes itself` : meant.join(", ");
    return [`${settingName(at)}: no endpoint has this host and port, so K3s would ignore it; allowed: ${right}`];
  });
}

const portAside = (hostAndPort: string): string => hostAndPort.replace(/:\d+$/, "");

/** Docker Hub has two names, and K3s takes one for the other. */
const DOCKER_HUB = ["docker.io", "registry-1.docker.io"];

/** Whether K3s ever looks for a config of this key. */
function isUsed(config: Trusting, key: string): boolean {
  const used = [
    ...Object.keys(config.nodeTrust.mirrors),
    ...endpoints(config).map(({ url }) => configKey(url)),
    ...managedOf(config),
    "*",
  ];
  return used.includes(key) || (DOCKER_HUB.includes(key) && used.some((other) => DOCKER_HUB.includes(other)));
}

function mirrorWarnings(config: Trusting): string[] {
  const host = imageHost(config);
  const empty = Object.entries(config.nodeTrust.mirrors)
    .filter(([mirror, { endpoint }]) => mirror !== host && endpoint.length === 0)
    .map(
      ([mirror]) =>
        `${settingName(["nodeTrust", "mirrors", mirror])}: has no endpoint; only K3s's embedded registry mirror uses it`,
    );
  const plain = endpoints(config)
    .filter(({ url }) => url.startsWith("http:"))
    .map(({ at }) => `${at}: is plain http; images come unprotected, and a login goes in the clear`);
  return [...empty, ...plain];
}

function configWarnings(config: Trusting): string[] {
  return Object.entries(config.nodeTrust.configs).flatMap(([key, { tls }]) => {
    const at = ["nodeTrust", "configs", key];
    return [
      ...(isUsed(config, key)
        ? []
        : [`${settingName(at)}: no mirror or endpoint has this host and port; K3s uses it for images of ${key} only`]),
      ...(tls?.insecure_skip_verify
        ? [`${settingName([...at, "tls", "insecure_skip_verify"])}: any certificate will do there`]
        : []),
    ];
  });
}
