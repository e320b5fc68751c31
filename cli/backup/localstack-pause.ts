import { PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { V1Container, V1Deployment, V1Pod, V1PodSpec } from "@kubernetes/client-node";
import { selectorOf, selects } from "../../components/labels.ts";
import { POD_LAYOUT, VOLUME_FOLDERS } from "../../components/localstack/layout.ts";
import { OBJECTS } from "../../components/localstack/pod.ts";
import { environment, hardened, memory, placement, unprivileged } from "../../components/pod-parts.ts";
import { type Kube, library } from "../cluster/kube.ts";
import { EXIT, UserError } from "../errors.ts";
import type { Edition } from "./format.ts";
import { beatInto, type Place, scriptCommand } from "./in-pod.ts";

/** Says on the Deployment since when a backup or restore has it scaled to 0. */
export const PAUSED = "homecloud/paused";

export const HELPER = "localstack-volume";

/** Seconds: LocalStack has 90 to save its state, and kubelet some more to take the pod away. */
const STOPPED_WITHIN = 180;
/** Seconds: a large state takes its time to be read. */
const READY_WITHIN = 1800;
/** Seconds for a pod whose image the node has. */
const HELPER_WITHIN = 180;

/** LocalStack's Deployment, and what its spec tells of it. */
export interface LocalStackFacts {
  kube: Kube;
  namespace: string;
  deployment: V1Deployment;
  edition: Edition;
  image: string;
}

export async function readLocalStack(kube: Kube, namespace: string): Promise<LocalStackFacts> {
  const name = OBJECTS.deployment;
  const deployment = await kube.ask(`the Deployment ${name}`, kube.apps.readNamespacedDeployment({ name, namespace }));
  if (!deployment)
    throw new UserError(`there is no Deployment ${name} in ${namespace}: run pulumi up`, EXIT.unreachable);
  const containers = deployment.spec?.template.spec?.containers ?? [];
  const image = containers.find((each) => each.name === "localstack")?.image ?? "";
  return { kube, namespace, deployment, edition: editionOf(containers), image };
}

/** As components/localstack/pod.ts deploys them. */
export function editionOf(containers: V1Container[]): Edition {
  const mounts = containers.find(({ name }) => name === "localstack")?.volumeMounts ?? [];
  if (mounts.some(({ subPath }) => subPath === VOLUME_FOLDERS.pro)) return "pro";
  const watch = containers.find(({ name }) => name === "watch")?.env ?? [];
  return watch.some(({ name, value }) => name === "KEEP" && value === "1") ? "community" : "ephemeral";
}

/**
 * LocalStack scaled to 0, which saves its state, and a pod that holds its volume meanwhile. It comes back with `end`, which
 * is to be called however the work ended. What a killed command has left is mended by the next one.
 */
export class LocalStackPause {
  private readonly kube: Kube;
  private readonly facts: LocalStackFacts;
  private readonly since = Date.now();
  private stopBeat = () => {};
  private place: Place | undefined;

  private constructor(facts: LocalStackFacts) {
    this.kube = facts.kube;
    this.facts = facts;
  }

  /**
   * Scales down and waits until the volume can be read, or written to, without what a swap that was cut off has left in it.
   * Nothing stays changed where it throws.
   */
  static async begin(facts: LocalStackFacts, signal: AbortSignal): Promise<LocalStackPause> {
    const pause = new LocalStackPause(facts);
    try {
      await pause.scaleDown();
      await pause.until("LocalStack has ended", STOPPED_WITHIN, signal, async () => !(await pause.hasPod()));
      await pause.startHelper(signal);
      await pause.run("mend");
      return pause;
    } catch (error) {
      await pause.end();
      throw error;
    }
  }

  /**
   * Brings back what a killed command has left at 0, and notes it where there was something. Throws where a backup or restore
   * is under way, or seems to be.
   */
  static async mend(facts: LocalStackFacts, note: (text: string) => void, signal: AbortSignal): Promise<void> {
    const paused = facts.deployment.metadata?.annotations?.[PAUSED];
    if (!paused) return;
    const pause = new LocalStackPause(facts);
    if (await pause.isUnderWay(paused)) {
      throw new UserError(
        `a backup or restore has LocalStack scaled to 0 since ${paused}; if its command is gone, try again in three minutes`,
      );
    }
    await pause.end();
    await pause.untilReady(signal);
    note("LocalStack was still scaled to 0, by a backup or restore that was killed: it is back");
  }

  /** Seconds for which LocalStack was away so far. */
  get seconds(): number {
    return Math.round((Date.now() - this.since) / 1000);
  }

  /** Where the volume is. */
  get volume(): Place {
    if (!this.place) throw new Error("the volume is not held");
    return this.place;
  }

  /** Runs a command of localstack-pod.sh. */
  async run(command: "mend" | "swap"): Promise<void> {
    const { kube, pod, container } = this.volume;
    await kube.run(pod, container, scriptCommand("localstack-pod", command));
  }

  /** Scales up again. Throws a UserError with what to type where even that fails. */
  async end(): Promise<void> {
    this.stopBeat();
    const { namespace } = this.facts;
    try {
      await this.removeHelper();
      if (!this.wasOff) await this.scale(1);
      await this.annotate(null);
    } catch (error) {
      throw new UserError(
        `LocalStack could not be scaled up again (${(error as Error).message}): kubectl -n ${namespace} scale deploy/${OBJECTS.deployment} --replicas=1`,
      );
    }
  }

  /** Not where somebody has switched it off for longer. */
  async untilReady(signal: AbortSignal): Promise<void> {
    if (this.wasOff) return;
    const { namespace } = this.facts;
    const name = OBJECTS.deployment;
    await this.until("LocalStack is ready again", READY_WITHIN, signal, async () => {
      const deployment = await this.kube.apps.readNamespacedDeployment({ name, namespace });
      return (deployment.status?.readyReplicas ?? 0) > 0;
    });
  }

  private get wasOff(): boolean {
    const { spec, metadata } = this.facts.deployment;
    return spec?.replicas === 0 && !metadata?.annotations?.[PAUSED];
  }

  private async scaleDown(): Promise<void> {
    if (this.wasOff) return;
    await this.annotate(new Date().toISOString());
    await this.scale(0);
  }

  /** Its pod ends by itself when its command is gone; before there is one, only time can tell. */
  private async isUnderWay(since: string): Promise<boolean> {
    if (this.facts.deployment.spec?.replicas !== 0) return false;
    const helper = await this.helper();
    if (helper) return helper.status?.phase === "Running" || helper.status?.phase === "Pending";
    return Date.now() - Date.parse(since) < STOPPED_WITHIN * 1000;
  }

  private async annotate(value: string | null): Promise<void> {
    const { namespace } = this.facts;
    await this.kube.ask(
      `the Deployment ${OBJECTS.deployment}`,
      this.kube.apps.patchNamespacedDeployment(
        { name: OBJECTS.deployment, namespace, body: { metadata: { annotations: { [PAUSED]: value } } } },
        library().setHeaderOptions("Content-Type", library().PatchStrategy.MergePatch),
      ),
    );
  }

  /** As `kubectl scale` does it: the next `pulumi up` finds nothing that it would have to argue about. */
  private async scale(replicas: number): Promise<void> {
    const { namespace } = this.facts;
    const name = OBJECTS.deployment;
    const body = { apiVersion: "autoscaling/v1", kind: "Scale", metadata: { name, namespace }, spec: { replicas } };
    await this.kube.ask(
      `the scale of the Deployment ${name}`,
      this.kube.apps.replaceNamespacedDeploymentScale({ name, namespace, body }),
    );
  }

  /** One that is on its way out counts: it saves until its end. */
  private async hasPod(): Promise<boolean> {
    const { namespace } = this.facts;
    const labelSelector = selects("localstack");
    return (await this.kube.core.listNamespacedPod({ namespace, labelSelector })).items.length > 0;
  }

  private async startHelper(signal: AbortSignal): Promise<void> {
    const { kube, facts } = this;
    const { namespace } = facts;
    await this.removeHelper();
    await kube.ask(
      `the pod ${HELPER}`,
      kube.core.createNamespacedPod({ namespace, body: helperPod(facts.deployment) }),
    );
    let pod: V1Pod | undefined;
    await this.until("a pod holds LocalStack's volume", HELPER_WITHIN, signal, async () => {
      pod = await kube.core.readNamespacedPod({ name: HELPER, namespace });
      return pod.status?.phase === "Running";
    });
    if (!pod) return;
    this.place = { kube, pod, container: HELPER };
    this.beat(this.place);
  }

  private beat({ pod }: Place): void {
    const stdin = new PassThrough().on("error", () => undefined);
    const stop = beatInto(stdin);
    this.stopBeat = () => {
      stop();
      stdin.end();
    };
    // Where it breaks off, so does what is being read or written.
    this.kube.exec(pod, HELPER, scriptCommand("localstack-pod", "beat"), { stdin }).catch(() => undefined);
  }

  private helper(): Promise<V1Pod | undefined> {
    const { namespace } = this.facts;
    return this.kube.ask(HELPER, this.kube.core.readNamespacedPod({ name: HELPER, namespace }));
  }

  private async removeHelper(): Promise<void> {
    const { namespace } = this.facts;
    const name = HELPER;
    if (!(await this.helper())) return;
    await this.kube.ask(name, this.kube.core.deleteNamespacedPod({ name, namespace, gracePeriodSeconds: 1 }));
    await this.until(
      "the pod that held LocalStack's volume has gone",
      HELPER_WITHIN,
      undefined,
      async () => !(await this.helper()),
    );
  }

  private async until(
    what: string,
    seconds: number,
    signal: AbortSignal | undefined,
    condition: () => Promise<boolean>,
  ): Promise<void> {
    for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(500, undefined, { signal })) {
      signal?.throwIfAborted();
      // The API server may be away for a moment.
      if (await condition().catch(() => false)) return;
    }
    throw new UserError(`not after ${seconds} s: ${what}. See kubectl -n ${this.facts.namespace} get pods`);
  }
}

/** A pod where LocalStack's would run, of an image that the node has, and as bare as the rest of them. */
export function helperPod({ spec, metadata }: V1Deployment): V1Pod {
  const template = spec?.template.spec;
  const { volume, tmp } = POD_LAYOUT;
  const container = hardened({
    name: HELPER,
    image: template?.containers.find(({ name }) => name === "gate")?.image ?? "",
    command: scriptCommand("localstack-pod", "wait"),
    env: environment({ VOLUME: volume, TMP: tmp }),
    resources: { requests: { cpu: "50m", memory: "32Mi" }, limits: { cpu: "1", memory: "128Mi" } },
    volumeMounts: [
      { name: "data", mountPath: volume },
      { name: "tmp", mountPath: tmp },
    ],
  });
  return {
    metadata: {
      name: HELPER,
      ...(metadata?.namespace ? { namespace: metadata.namespace } : {}),
      // Not LocalStack's: its Service would send clients here.
      labels: selectorOf(HELPER),
    },
    spec: {
      ...unprivileged(template?.securityContext?.runAsUser ?? 1000),
      ...placement({ nodeSelector: template?.nodeSelector ?? {}, tolerations: template?.tolerations ?? [] }),
      restartPolicy: "Never",
      containers: [container],
      volumes: [{ name: "data", persistentVolumeClaim: { claimName: OBJECTS.claim } }, memory("tmp", "1Mi")],
    } as V1PodSpec,
  };
}
