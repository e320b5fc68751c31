import { isIP } from "node:net";
import type { Config } from "./schema.ts";
import { workloadHost } from "./workload-host.ts";

/** Name or address of LocalStack's endpoint, without its port. */
export const localstackHost = (config: Config): string => workloadHost("localstack", config);

/**
 * Names that the certificate must carry. SDKs put a bucket's name in front of the endpoint's, or of `s3.` where they are
 * told of it; functions with a URL have a name of their own. A wildcard in a certificate stands for one label.
 */
export function localstackNames(config: Config): string[] {
  const { access, localstack } = config;
  const host = localstackHost(config);
  const further = access.mode === "node-port" ? access.hosts.filter((other) => other !== host) : [];
  if (isIP(host)) return [host, ...further];
  const functions = localstack.services.includes("lambda") ? [`*.lambda-url.${localstack.region}.${host}`] : [];
  return [host, `*.${host}`, `*.s3.${host}`, ...functions, ...further];
}

/** Names that DNS must answer: a wildcard there stands for any number of labels. */
export function localstackDnsNames(config: Config): string[] {
  const host = localstackHost(config);
  return isIP(host) ? [] : [host, `*.${host}`];
}
