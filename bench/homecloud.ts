import { selectorOf } from "../components/labels.ts";
import { POD_LAYOUT } from "../components/registry/layout.ts";
import { OBJECTS } from "../components/registry/pod.ts";
import type { LocalOutputs } from "../lab/deploy/deploy.ts";
import type { Kubectl } from "./kubectl.ts";
import { REPOSITORIES } from "./measures.ts";
import type { System } from "./system.ts";

/** The registry that the local stack deploys, as it is. */
export function homecloud(kubectl: Kubectl, namespace: string, outputs: LocalOutputs): System {
  const { registryUrl: url, caCertificate: ca, registryUser: name, registryPassword: password } = outputs;
  const exec = (...command: string[]) =>
    kubectl(["-n", namespace, "exec", `deploy/${OBJECTS.deployment}`, "-c", "registry", "--", ...command]);
  const selector = Object.entries(selectorOf("registry"))
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
  return {
    name: "homecloud",
    target: { url, ca, user: { name, password } },
    namespace,
    selector,
    // The API deletes images but leaves the names of their repositories.
    wipe: async () => {
      await exec("rm", "-rf", `${POD_LAYOUT.volume}/docker/registry/v2/repositories/${REPOSITORIES}`);
      // Its output is left in the pod: where nobody reads it any more, after Ctrl-C, the collector would wait to write it.
      await exec("sh", "-c", `sh ${POD_LAYOUT.config}/collect-garbage.sh >/dev/null 2>&1`);
      await untilWritable(kubectl, namespace);
    },
    // Not `rollout restart`, which would leave an annotation that the program does not know. Nothing is under way, so the
    // pod need not be given long.
    forgetLogins: async () => {
      await kubectl(["-n", namespace, "delete", "pod", "-l", selector, "--grace-period=3", "--timeout=60s"]);
      const name = `deployment/${OBJECTS.deployment}`;
      await kubectl(["-n", namespace, "rollout", "status", name, "--timeout=120s"]);
    },
  };
}

/** The gate learns within a second or two that the collection has ended. */
async function untilWritable(kubectl: Kubectl, namespace: string): Promise<void> {
  const wait = `while [ -f ${POD_LAYOUT.state}/maintenance ]; do sleep 0.2; done`;
  const pod = ["-n", namespace, "exec", `deploy/${OBJECTS.deployment}`, "-c", "registry"];
  await kubectl([...pod, "--", "timeout", "60", "sh", "-c", wait]);
}
