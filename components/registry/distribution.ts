import { stringify } from "yaml";
import type { Layout } from "./layout.ts";

/**
 * Longest list of repositories that one request may ask for; the web page asks for as many, and once only. Far above what
 * a home has: distribution sets aside 16 bytes for each that is asked for (1.6 MB), and reads as many folders as there are.
 */
export const CATALOG_LIMIT = 100_000;

/**
 * config.yml of distribution 3.1. Nobody logs in here: the gate does it, and the registry listens on loopback only.
 * Source: https://distribution.github.io/distribution/about/configuration/
 */
export function renderDistribution(layout: Layout, options: { httpSecret: string }): string {
  return stringify({
    version: "0.1",
    log: { level: "info", formatter: "json", accesslog: { disabled: true } },
    storage: {
      filesystem: { rootdirectory: layout.volume },
      delete: { enabled: true },
      // No blob-descriptor cache: it would name blobs that a collection has deleted, until a restart.
      maintenance: { uploadpurging: { enabled: true, age: "24h", interval: "1h", dryrun: false } },
    },
    http: {
      addr: `${layout.loopback}:${layout.registryPort}`,
      secret: options.httpSecret,
      // Behind a gate and an ingress the registry cannot know the address it is asked by.
      relativeurls: true,
      draintimeout: "20s",
      headers: { "X-Content-Type-Options": ["nosniff"] },
      debug: {
        addr: `${layout.loopback}:${layout.registryDebugPort}`,
        prometheus: { enabled: true, path: "/metrics" },
      },
    },
    catalog: { maxentries: CATALOG_LIMIT },
    health: { storagedriver: { enabled: true, interval: "10s", threshold: 3 } },
  });
}
