import { isIP } from "node:net";
import { inUrl } from "../../config/in-url.ts";
import type { LocalStackSettings, TlsSettings } from "../../config/settings.ts";

type Endpoint = Pick<LocalStackSettings, "host" | "port">;

/** Name and port as LocalStack puts them into URLs. */
export const localstackHostAndPort = ({ host, port }: Endpoint): string => `${inUrl(host)}:${port}`;

/** The endpoint for every service. */
export function endpointUrl(endpoint: Endpoint, tls: TlsSettings): string {
  return url(endpoint.host, endpoint.port, tls);
}

/**
 * The endpoint for S3: SDKs put the bucket's name in front, and LocalStack knows such a host by `.s3.` in it. An address
 * takes no name in front: SDKs put the bucket into the path by themselves there.
 */
export function s3EndpointUrl(endpoint: Endpoint, tls: TlsSettings): string {
  return url(isIP(endpoint.host) ? endpoint.host : `s3.${endpoint.host}`, endpoint.port, tls);
}

function url(host: string, port: number, tls: TlsSettings): string {
  const scheme = tls.mode === "none" ? "http" : "https";
  return new URL(`${scheme}://${inUrl(host)}:${port}`).origin;
}
