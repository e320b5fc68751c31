import { X509Certificate } from "node:crypto";
import { CA_NAME } from "../components/known-names.ts";
import type { Settings } from "../config/settings.ts";

/** What the registry in the cluster runs with, where there is one. */
export interface Deployed {
  /** Content of its htpasswd file. */
  htpasswd: string | undefined;
  /** Its certificate, PEM, with what leads to the CA behind it. */
  certificate: string | undefined;
}

/**
 * A generation gives way to the next one only: whoever was told of another is locked out the moment the registry changes,
 * which is before nodes and pull secrets are told.
 */
export function generationProblems({ htpasswd, certificate }: Deployed, { registry, tls }: Settings): string[] {
  const user = htpasswd === undefined ? undefined : newestPullUser(htpasswd, registry.pullUser);
  const ca = certificate === undefined ? undefined : caGeneration(certificate);
  return [
    ...notTheNext("registry.pullUserGeneration", registry.pullUserGeneration, user),
    ...(tls.mode === "private-ca" ? notTheNext("tls.generation", tls.generation, ca) : []),
    ...(user !== undefined && registry.pullUserGeneration === user + 1 && !registry.keepFormerPullUser
      ? [
          `registry.keepFormerPullUser: false is not allowed while pullUserGeneration is raised; allowed: true, until an up has given everybody ${registry.pullUser}-${user + 1}`,
        ]
      : []),
  ];
}

function notTheNext(key: string, wanted: number, current: number | undefined): string[] {
  if (current === undefined || wanted === current || wanted === current + 1) return [];
  return [
    `${key}: ${wanted} is not allowed; allowed: ${current}, which the cluster has, or ${current + 1}, by which the former one stays valid`,
  ];
}

function newestPullUser(htpasswd: string, name: string): number | undefined {
  const users = htpasswd.split("\n").map((line) => line.split(":")[0] ?? "");
  const generations = users
    .filter((user) => user.startsWith(`${name}-`))
    .map((user) => user.slice(name.length + 1))
    .filter((rest) => /^\d+$/.test(rest))
    .map(Number);
  return generations.length === 0 ? undefined : Math.max(...generations);
}

/** Which generation of the stack's own CA has issued a certificate. Undefined where another CA has. */
export function caGeneration(certificate: string): number | undefined {
  const issuer = /^CN=(.*)$/m.exec(new X509Certificate(certificate).issuer)?.[1] ?? "";
  const found = new RegExp(`^${CA_NAME}(?: (\\d+))?$`).exec(issuer);
  return found ? Number(found[1] ?? 1) : undefined;
}
