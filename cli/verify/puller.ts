import { z } from "zod";
import { PULL_SECRET } from "../../components/known-names.ts";
import { selects } from "../../components/labels.ts";
import type { Login, Run } from "./run.ts";

const dockerConfig = z.object({
  auths: z.record(z.string(), z.object({ username: z.string(), password: z.string() })),
});

/**
 * The login of the user who only pulls: in the pull secrets that the program has made (registry.pullSecretNamespaces).
 * Undefined where there is none that this kubeconfig may read.
 */
export async function pullLogin(run: Run): Promise<Login | undefined> {
  const { host } = await run.registryAccess();
  const { core } = run.kube;
  const labelSelector = selects("registry");
  const fieldSelector = `metadata.name=${PULL_SECRET}`;
  const list = await core.listSecretForAllNamespaces({ labelSelector, fieldSelector }).catch(() => undefined);
  for (const { data } of list?.items ?? []) {
    const text = Buffer.from(data?.[".dockerconfigjson"] ?? "", "base64").toString();
    const login = dockerConfig.safeParse(JSON.parse(text || "{}")).data?.auths[host];
    if (login) return { user: login.username, password: login.password };
  }
  return undefined;
}
