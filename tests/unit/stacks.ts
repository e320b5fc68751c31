import { generateKeyPairSync } from "node:crypto";
import { ConfigError, loadSettings, type RawConfig } from "../../config/load.ts";
import { PROJECT } from "../../config/project.ts";
import { SECRET_KEYS } from "../../config/schema.ts";
import type { Settings } from "../../config/settings.ts";

/** A stack's configuration by key, as it stands in a stack file. */
export type StackConfig = Record<string, unknown>;

/** The configuration as the engine hands it over: all text, secrets named. */
export function rawConfig(config: StackConfig, secretKeys: readonly string[] = SECRET_KEYS): RawConfig {
  const asText = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));
  return {
    project: PROJECT,
    stack: "test",
    values: Object.fromEntries(Object.entries(config).map(([key, value]) => [`${PROJECT}:${key}`, asText(value)])),
    secretKeys: secretKeys.map((key) => `${PROJECT}:${key}`),
  };
}

/** The settings of a stack that is configured like this. */
export function settingsOf(config: StackConfig): Settings {
  return loadSettings(rawConfig(config));
}

/** What the loader says about this configuration; nothing where it is right. */
export function problemsOf(config: StackConfig, secretKeys?: readonly string[], sshAgent = false): string[] {
  try {
    loadSettings({ ...rawConfig(config, secretKeys), sshAgent });
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

/** Every way in which the registry and LocalStack can be reached and certified. */
export const SHAPES = {
  "ingress, private CA": { domain: "homelab.local" },
  "ingress, cluster issuer": {
    domain: "home.example.net",
    tls: { mode: "cluster-issuer", issuer: "letsencrypt" },
  },
  "node port, private CA": { access: { mode: "node-port", hosts: ["127.0.0.1", "localhost"] } },
  "node port, no TLS": { access: { mode: "node-port", hosts: ["localhost"] }, tls: { mode: "none" } },
} satisfies Record<string, StackConfig>;

export type Shape = keyof typeof SHAPES;

/** For tests that are about something else. */
export const NO_LOCALSTACK = { localstack: { enabled: false } };
export const NO_UI = { registryUi: { enabled: false } };

/** A host key of a machine that is nobody's. */
export const ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB/N/vQx14wM5CARB5+6gOgGdaLUtJpXm+VAgfpQP26J";

/** A key to log in with, made for this run. */
export const NODE_KEY = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
