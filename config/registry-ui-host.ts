import { inUrl } from "./in-url.ts";
import type { Config } from "./schema.ts";
import { workloadHost } from "./workload-host.ts";

/** Name or address of the web page, without its port. */
export const registryUiHostName = (config: Config): string => workloadHost("registryUi", config);

/** The same with its port, where that is not 443. */
export function registryUiHost(config: Config): string {
  const name = registryUiHostName(config);
  if (config.access.mode === "ingress") return name;
  return `${inUrl(name)}:${config.registryUi.port}`;
}
