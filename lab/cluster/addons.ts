import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { readIfThere } from "../files.ts";
import { LAB_IMAGES } from "../images/refs.ts";
import { CLUSTER_DNS } from "../network.ts";
import { labDir, storageDir } from "../paths.ts";
import { kubectl } from "./kubectl.ts";

/** Applies cluster DNS and the storage class. Applying what is there already changes nothing. */
export async function applyAddons(): Promise<void> {
  const template = await readFile(join(labDir, "cluster", "addons.yaml"), "utf8");
  const resolvers = upstreamResolvers((await readIfThere("/etc/resolv.conf")) ?? "");
  const manifest = fillIn(template, {
    STORAGE: storageDir,
    BUSYBOX_IMAGE: LAB_IMAGES.busybox,
    LOCAL_PATH_IMAGE: LAB_IMAGES.localPath,
    COREDNS_IMAGE: LAB_IMAGES.coredns,
    CLUSTER_DNS,
    FORWARD: resolvers.length > 0 ? `forward . ${resolvers.join(" ")}` : "",
  });
  await kubectl(["apply", "--filename", "-"], { input: manifest });
}

/** Replaces every ${NAME}; a name without a value is an error. */
export function fillIn(template: string, values: Record<string, string>): string {
  return template.replace(/\$\{(\w+)\}/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`addons.yaml: nothing is known to put in for ${name}`);
    return value;
  });
}

/** Resolvers of this machine that a pod can reach; one on loopback (systemd-resolved) would be the pod itself. */
export function upstreamResolvers(resolvConf: string): string[] {
  const servers = [...resolvConf.matchAll(/^nameserver\s+(\S+)/gm)].map((match) => match[1] ?? "");
  return servers.filter((address) => !address.startsWith("127.") && !address.includes(":"));
}
