import { join } from "node:path";
import { renderHostsToml } from "../components/node-trust/hosts-toml.ts";
import { writeIfChanged } from "./files.ts";
import { inState } from "./paths.ts";

/**
 * Lets the lab's containerd pull `host/…` images from `server`, trusting the PEM certificate `ca`. Holds from the next
 * pull on; nothing is restarted.
 */
export async function trustRegistry(host: string, { server, ca }: { server: string; ca?: string }): Promise<void> {
  const folder = inState("certs.d", host);
  const caFile = join(folder, "ca.crt");
  if (ca !== undefined) await writeIfChanged(caFile, ca);
  const toml = renderHostsToml({ host, server, ...(ca === undefined ? {} : { caFile }) });
  await writeIfChanged(join(folder, "hosts.toml"), toml);
}
