import { readFileSync } from "node:fs";
import { renderDistribution } from "./distribution.ts";
import { type GateOptions, renderGate } from "./gate.ts";
import type { Layout } from "./layout.ts";
import { renderLogin } from "./login.ts";
import { renderWrites } from "./writes.ts";

/** What the quota container goes by. */
export interface QuotaOptions {
  /** Most bytes that the volume may hold, uploads under way included. */
  limitBytes: number;
  /** New uploads stop this far below the limit. */
  reserveBytes: number;
  /** New uploads stop when the disk has less than this left; all writes at half of it. */
  keepFreeBytes: number;
  /** Seconds between two measurements: what arrives meanwhile is the most by which the limit can be passed. */
  interval: number;
  /** Command that frees space, for the message that clients print. */
  remedy: string;
}

const script = (name: string) => readFileSync(new URL(name, import.meta.url), "utf8");

/** Every file of the pod that is no secret, by name. config.yml holds the registry's HTTP secret and is one. */
export function renderFiles(layout: Layout, options: GateOptions & { httpSecret: string }): Record<string, string> {
  return { ...renderPublicFiles(layout, options), "config.yml": renderDistribution(layout, options) };
}

/** The files for the ConfigMap. */
export function renderPublicFiles(layout: Layout, options: GateOptions): Record<string, string> {
  return {
    "gate.conf": renderGate(layout, options),
    "login.conf": renderLogin(layout),
    "writes.conf": renderWrites(layout),
    "measure.sh": script("measure.sh"),
    "collect-garbage.sh": script("collect-garbage.sh"),
    "survey.awk": script("survey.awk"),
  };
}

/** Environment of measure.sh. */
export function quotaEnvironment(layout: Layout, options: QuotaOptions): Record<string, string> {
  const { loopback, writesPort, registryDebugPort, loginPort } = layout;
  return {
    ...folders(layout),
    COUNTERS: layout.counters,
    TMP: layout.tmp,
    LIMIT: String(options.limitBytes),
    RESERVE: String(options.reserveBytes),
    KEEP_FREE: String(options.keepFreeBytes),
    INTERVAL: String(options.interval),
    REMEDY: options.remedy,
    WRITES_CONF: `${layout.config}/writes.conf`,
    WRITERS_URL: `http://${loopback}:${writesPort}/homecloud/writers`,
    REGISTRY_HEALTH_URL: `http://${loopback}:${registryDebugPort}/debug/health`,
    LOGIN_CHECK_URL: `http://${loopback}:${loginPort}/check`,
  };
}

/** Environment of collect-garbage.sh. */
export function collectorEnvironment(layout: Layout): Record<string, string> {
  return { ...folders(layout), DISTRIBUTION_CONF: `${layout.config}/config.yml` };
}

const folders = ({ volume, state, locks }: Layout) => ({ VOLUME: volume, STATE: state, LOCKS: locks });
