import { readFile } from "node:fs/promises";
import { stringify } from "yaml";
import { writeIfChanged } from "../files.ts";
import { API_SERVER_URL } from "../network.ts";
import { inState, kubeconfigPath } from "../paths.ts";
import { certificatePath, type Identity, keyPath } from "./pki.ts";

interface Credentials {
  server: string;
  ca: string;
  certificate: string;
  key: string;
}

/** One cluster, one user, one context, everything in the file: it can be copied. */
export function renderKubeconfig({ server, ca, certificate, key }: Credentials): string {
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  const name = "homecloud-lab";
  return stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name, cluster: { server, "certificate-authority-data": base64(ca) } }],
      users: [{ name, user: { "client-certificate-data": base64(certificate), "client-key-data": base64(key) } }],
      contexts: [{ name, context: { cluster: name, user: name } }],
      "current-context": name,
    },
    { lineWidth: 0 },
  );
}

export const componentKubeconfig = (identity: Identity): string => inState("pki", `${identity}.kubeconfig`);

/** Writes the person's kubeconfig and one for each component that talks to the API server. */
export async function writeKubeconfigs(): Promise<void> {
  await writeKubeconfig("admin", kubeconfigPath);
  for (const identity of ["controller-manager", "scheduler", "proxy", "kubelet"] as const)
    await writeKubeconfig(identity, componentKubeconfig(identity));
}

async function writeKubeconfig(identity: Identity, path: string): Promise<void> {
  const [ca, certificate, key] = await Promise.all(
    [certificatePath("ca"), certificatePath(identity), keyPath(identity)].map((file) => readFile(file, "utf8")),
  );
  const text = renderKubeconfig({
    server: API_SERVER_URL,
    ca: ca ?? "",
    certificate: certificate ?? "",
    key: key ?? "",
  });
  await writeIfChanged(path, text, 0o600);
}
