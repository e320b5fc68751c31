import type { types } from "@pulumi/kubernetes";
import type { IngressAccess, TlsSettings } from "../config/settings.ts";

type IngressSpec = types.input.networking.v1.IngressSpec;

/** An Ingress without its name. */
export interface IngressParts {
  annotations: Record<string, string>;
  spec: IngressSpec;
}

/** Where an Ingress leads, by which names, and what certifies them. */
export interface IngressTarget {
  /** Names; `*.` in front stands for one label. */
  hosts: string[];
  /** Service of the gate. */
  service: string;
  /** Name of the Service's port. */
  port: string;
  /** Secret with the certificate. */
  secretName: string;
}

/** HTTPS to a gate. */
export function httpsIngress(target: IngressTarget, access: IngressAccess, tls: TlsSettings): IngressParts {
  return {
    annotations: {
      ...entryPoint(access, "websecure"),
      ...waiting(access),
      // Traefik's `certresolver` annotation is Traefik's own ACME, not cert-manager.
      ...(tls.mode === "cluster-issuer" ? { "cert-manager.io/cluster-issuer": tls.issuer } : {}),
      // ingress-nginx, RKE2's default, cuts bodies at 1 MB and stores them first unless told otherwise.
      ...(isTraefik(access)
        ? {}
        : {
            "nginx.ingress.kubernetes.io/proxy-body-size": "0",
            "nginx.ingress.kubernetes.io/proxy-request-buffering": "off",
            "nginx.ingress.kubernetes.io/proxy-read-timeout": "900",
            "nginx.ingress.kubernetes.io/proxy-send-timeout": "900",
          }),
    },
    spec: { ...toGate(target, access), tls: [{ hosts: target.hosts, secretName: target.secretName }] },
  };
}

/**
 * Plain HTTP to the gate, which answers with a redirect. Traefik gives an Ingress with TLS no plain route; with other
 * controllers the first Ingress redirects by itself and this one is not made.
 */
export function redirectIngress(target: IngressTarget, access: IngressAccess): IngressParts | undefined {
  if (!isTraefik(access)) return undefined;
  return { annotations: { ...entryPoint(access, "web"), ...waiting(access) }, spec: toGate(target, access) };
}

/**
 * Values for K3s's Traefik chart. Its entry point ends a request after 60 s, body included: a 300 MB layer over 5 MB/s of
 * Wi-Fi fails (measured with Traefik 3.7: 40 MB at 500 KB/s ended in a 504 after 60 s; with 30m it passed).
 */
export const LONG_UPLOADS_VALUES = `ports:
  web:
    transport: { respondingTimeouts: { readTimeout: 30m } }
  websecure:
    transport: { respondingTimeouts: { readTimeout: 30m } }
`;

const isTraefik = (access: IngressAccess) => access.className.includes("traefik");

function entryPoint(access: IngressAccess, name: "web" | "websecure"): Record<string, string> {
  return isTraefik(access) ? { "traefik.ingress.kubernetes.io/router.entrypoints": name } : {};
}

function waiting(access: IngressAccess): Record<string, string> {
  return access.waitForAddress ? {} : { "pulumi.com/skipAwait": "true" };
}

function toGate({ hosts, service, port }: IngressTarget, access: IngressAccess): IngressSpec {
  const backend = { service: { name: service, port: { name: port } } };
  return {
    ingressClassName: access.className,
    rules: hosts.map((host) => ({ host, http: { paths: [{ path: "/", pathType: "Prefix", backend }] } })),
  };
}
