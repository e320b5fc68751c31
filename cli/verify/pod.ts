import { setTimeout as sleep } from "node:timers/promises";
import type { CoreV1Event, V1Node, V1Pod } from "@kubernetes/client-node";
import { PULL_SECRET } from "../../components/known-names.ts";
import { dockerConfigJson } from "../../components/registry/docker-config.ts";
import { library } from "../cluster/kube.ts";
import { provenNodes } from "../cluster/nodes.ts";
import { type Criterion, fail, needed, pass, seconds } from "./criterion.ts";
import { pullLogin } from "./puller.ts";
import { PREFIX, type Run } from "./run.ts";

/** Seconds for a node to pull a few kilobytes, and to say so. */
const LIMIT = 30;

export const pod: Criterion = {
  id: "pod",
  title: "A pod on each node pulls from the registry",
  limit: `every node, within ${LIMIT} s`,
  measure: async (run) => {
    await needed("a push", run.smallImage());
    const nodes = await usableNodes(run);
    const namespace = await makeNamespace(run);
    // These pull with what NodeTrust has told them, and need no secret.
    const trusted = new Set(await provenNodes(run.kube, run.deployment.registry.namespace));
    const begun = performance.now();
    const answers = await Promise.all(nodes.map((node) => pullOn(run, namespace, node, trusted.has(node))));
    const failures = answers.filter((answer) => answer !== undefined);
    if (failures.length > 0) return fail(failures.map(({ short }) => short).join(", "), failures[0]?.message);
    return pass(`${nodes.length} of ${nodes.length} nodes in ${seconds(performance.now() - begun)}`);
  },
};

/** Nodes that take pods of everybody. */
async function usableNodes({ kube }: Run): Promise<string[]> {
  const nodes = await kube.ask("the nodes", kube.core.listNode());
  const names = (nodes?.items ?? []).filter(takesPods).map(({ metadata }) => metadata?.name ?? "");
  if (names.length === 0) throw new Error("no node of the cluster takes pods");
  return names;
}

function takesPods({ spec, status }: V1Node): boolean {
  const ready = status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True");
  const tainted = spec?.taints?.some(({ effect }) => effect !== "PreferNoSchedule");
  return ready === true && !tainted && !spec?.unschedulable;
}

async function makeNamespace(run: Run): Promise<string> {
  const { core } = run.kube;
  const name = PREFIX + run.name;
  await core.createNamespace({
    body: { metadata: { name, labels: { "pod-security.kubernetes.io/enforce": "restricted" } } },
  });
  run.leaves(`namespace ${name}`, () => removeNamespace(run, name));
  const { host, user, password } = await run.registryAccess();
  const login = (await pullLogin(run)) ?? { user, password };
  await core.createNamespacedSecret({
    namespace: name,
    body: {
      metadata: { name: PULL_SECRET },
      type: "kubernetes.io/dockerconfigjson",
      stringData: { ".dockerconfigjson": dockerConfigJson(host, login.user, login.password) },
    },
  });
  return name;
}

/** A namespace takes some seconds to go; one that a killed run has left goes too, and nobody waits for it. */
async function removeNamespace({ kube }: Run, name: string): Promise<void> {
  await kube.core.deleteNamespace({ name });
  for (const end = Date.now() + 60_000; Date.now() < end; await sleep(300)) {
    if (!(await kube.ask(name, kube.core.readNamespace({ name })))) return;
  }
  throw new Error("it is still going after 60 s");
}

/** Lets one node pull the run's image. Returns undefined when it has, else why not. */
async function pullOn(
  run: Run,
  namespace: string,
  node: string,
  trusted: boolean,
): Promise<{ short: string; message: string } | undefined> {
  const { kube } = run;
  const { host } = await run.registryAccess();
  const { tag } = await run.smallImage();
  const body = puller(node, `${host}/${run.repository}:${tag}`, trusted);
  const created = await createSoon(() => kube.core.createNamespacedPod({ namespace, body }));
  const name = created.metadata?.name ?? "";
  let message = "the node has said nothing";
  for (const end = Date.now() + LIMIT * 1000; Date.now() < end; await run.pause(300)) {
    const fieldSelector = `involvedObject.name=${name}`;
    const events = (await kube.core.listNamespacedEvent({ namespace, fieldSelector })).items;
    if (events.some(({ reason }) => reason === "Pulled")) return undefined;
    const failure = events.find(isFailedPull);
    if (failure) return { short: `${node} does not pull`, message: failure.message ?? "" };
    message = events.at(-1)?.message ?? message;
  }
  return { short: `${node}: nothing in ${LIMIT} s`, message };
}

const isFailedPull = ({ reason, message }: CoreV1Event): boolean => reason === "Failed" && /pull/i.test(message ?? "");

/** Its command is nowhere in the image: it is pulled, and then does not start. */
function puller(nodeName: string, image: string, trusted: boolean): V1Pod {
  return {
    metadata: { generateName: "puller-" },
    spec: {
      nodeName,
      restartPolicy: "Never",
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: 0,
      ...(trusted ? {} : { imagePullSecrets: [{ name: PULL_SECRET }] }),
      securityContext: { runAsNonRoot: true, runAsUser: 65534, seccompProfile: { type: "RuntimeDefault" } },
      containers: [
        {
          ...{ name: "puller", image, imagePullPolicy: "Always", command: ["/none"] },
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
        },
      ],
    },
  };
}

/** A new namespace gets its service account a moment later, and refuses pods until then. */
async function createSoon(create: () => Promise<V1Pod>): Promise<V1Pod> {
  for (let tries = 1; ; tries++) {
    try {
      return await create();
    } catch (error) {
      if (!(error instanceof library().ApiException) || error.code !== 403 || tries > 20) throw error;
      await sleep(250);
    }
  }
}
