import { isIP } from "node:net";
import { localstackHost } from "./localstack-host.ts";
import { localstackChecks } from "./localstack-rules.ts";
import { nodeTrustChecks } from "./node-trust-rules.ts";
import { parseBytes } from "./quantity.ts";
import { registryUiHostName } from "./registry-ui-host.ts";
import { registryUiChecks } from "./registry-ui-rules.ts";
import type { Config } from "./schema.ts";

/** What no single setting can know: which settings fit together, and with the SSH agent, if any. One line a problem. */
export function crossChecks(config: Config, sshAgent: boolean): string[] {
  return [
    ...nameChecks(config),
    ...tlsChecks(config),
    ...sizeChecks(config),
    ...userChecks(config),
    ...piholeChecks(config),
    ...localstackChecks(config),
    ...registryUiChecks(config),
    ...nodeTrustChecks(config, sshAgent),
  ];
}

function nameChecks({ domain, registry, access }: Config): string[] {
  if (access.mode === "node-port" || domain || registry.host) return [];
  return [
    "domain: is missing; allowed: the domain of the home network, for example homelab.local (registry.DOMAIN lies below it)",
  ];
}

/** Top-level names that no public CA issues for. Source: RFC 6761, RFC 6762, RFC 8375, ICANN's `.internal`. */
const PRIVATE_NAMES = /(^|\.)(local|localhost|internal|lan|home|test|example|invalid|home\.arpa)$/;

function tlsChecks(config: Config): string[] {
  const { domain, registry, registryUi, localstack, tls, access } = config;
  const problems: string[] = [];
  const names = [
    registry.host ?? `registry.${domain}`,
    ...(localstack.enabled ? [localstackHost(config)] : []),
    ...(registryUi.enabled ? [registryUiHostName(config)] : []),
  ];
  const name = names.find((candidate) => PRIVATE_NAMES.test(candidate));
  if (tls.mode === "cluster-issuer" && access.mode === "node-port") {
    problems.push('tls.mode: "cluster-issuer" needs an Ingress; allowed with access.mode node-port: private-ca, none');
  }
  if (tls.mode === "cluster-issuer" && tls.acme && access.mode === "ingress" && name) {
    problems.push(
      `tls.issuer: ${JSON.stringify(tls.issuer)} cannot issue for ${name}: Let's Encrypt knows public names only. ` +
        "Use a domain of your own with a DNS-01 issuer, or set tls.mode to private-ca " +
        "(tls.acme: false where the issuer is a private CA of cert-manager's)",
    );
  }
  if (tls.mode === "none" && !(access.mode === "node-port" && access.hosts.every(isLoopback))) {
    problems.push(
      'tls.mode: "none" would send passwords in the clear; allowed only with access.mode node-port and loopback hosts ' +
        "(127.0.0.1, ::1, localhost)",
    );
  }
  return problems;
}

function isLoopback(host: string): boolean {
  return (
    host === "localhost" ||
    host.endsWith(".localhost") ||
    host === "::1" ||
    (isIP(host) === 4 && host.startsWith("127."))
  );
}

function sizeChecks({ registry }: Config): string[] {
  const limit = parseBytes(registry.storage) ?? 0;
  const reserve = parseBytes(registry.reserve) ?? 0;
  if (reserve < limit) return [];
  return [
    `registry.reserve: "${registry.reserve}" is not allowed; allowed: less than registry.storage (${registry.storage})`,
  ];
}

/** nginx and people confuse names that differ in case only. */
function userChecks({ registryUser, registry }: Config): string[] {
  const pullUsers = new RegExp(`^${registry.pullUser.replaceAll(".", "\\.")}-\\d+$`, "i");
  if (!pullUsers.test(registryUser)) return [];
  return [
    `registryUser: ${JSON.stringify(registryUser)} is not allowed; allowed: a name that no pull-only user can have (${registry.pullUser}-1, …)`,
  ];
}

function piholeChecks({ pihole, piholePassword, access }: Config): string[] {
  const problems: string[] = [];
  if (pihole && !piholePassword) {
    problems.push(
      "piholePassword: is missing; allowed: Pi-hole's app password. Set it with: pulumi config set --secret piholePassword",
    );
  }
  if (piholePassword && !pihole)
    problems.push("pihole.url: is missing; allowed: Pi-hole's address, for example http://192.168.1.2");
  if (pihole && access.mode === "ingress" && !access.address) {
    problems.push(
      "access.address: is missing; allowed: the home network address of the ingress, which Pi-hole is to answer with",
    );
  }
  return problems;
}
