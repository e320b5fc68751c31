import { isIP } from "node:net";
import type { Config } from "./schema.ts";

/** Name or address of the web page, without its port. */
export function registryUiHostName({ registryUi, domain, access }: Config): string {
  if (registryUi.host) return registryUi.host;
  return access.mode === "ingress" ? `registry-ui.${domain}` : (access.hosts[0] ?? "localhost");
}

/** The same with its port, where that is not 443. */
export function registryUiHost(config: Config): string {
  const name = registryUiHostName(config);
  if (config.access.mode === "ingress") return name;
  return `${isIP(name) === 6 ? `[${name}]` : name}:${config.registryUi.port}`;
}
