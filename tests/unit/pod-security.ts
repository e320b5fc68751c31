/** As much of a pod as the Pod Security Standards look at, of what this program uses. */
export interface SecuredPod {
  hostNetwork?: boolean;
  hostPID?: boolean;
  hostIPC?: boolean;
  securityContext?: SecurityContext;
  initContainers?: SecuredContainer[];
  containers: SecuredContainer[];
  volumes?: { name: string }[];
}

interface SecuredContainer {
  name: string;
  ports?: { hostPort?: number; [field: string]: unknown }[];
  securityContext?: SecurityContext;
}

interface SecurityContext {
  privileged?: boolean;
  allowPrivilegeEscalation?: boolean;
  runAsNonRoot?: boolean;
  runAsUser?: number;
  seccompProfile?: { type?: string };
  capabilities?: { drop?: string[]; add?: string[] };
}

const VOLUME_TYPES = ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"];

/**
 * What the profile `restricted` refuses this pod for, in order; nothing where it lets it in.
 * Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
 */
export function restrictedProblems(pod: SecuredPod): string[] {
  const host = (["hostNetwork", "hostPID", "hostIPC"] as const).filter((key) => pod[key]);
  const volumes = (pod.volumes ?? []).flatMap(({ name, ...source }) =>
    Object.keys(source)
      .filter((type) => ![...VOLUME_TYPES, "secret"].includes(type))
      .map((type) => `volume ${name}: ${type}`),
  );
  const containers = [...(pod.initContainers ?? []), ...pod.containers].flatMap((container) =>
    containerProblems(container, pod.securityContext ?? {}).map((problem) => `${container.name}: ${problem}`),
  );
  return [...host, ...volumes, ...containers];
}

function containerProblems(
  { ports = [], securityContext: own = {} }: SecuredContainer,
  pod: SecurityContext,
): string[] {
  const { capabilities } = own;
  const refused: Record<string, boolean> = {
    hostPort: ports.some(({ hostPort }) => hostPort !== undefined),
    privileged: own.privileged === true,
    escalation: own.allowPrivilegeEscalation !== false,
    root: !(own.runAsNonRoot ?? pod.runAsNonRoot) || (own.runAsUser ?? pod.runAsUser) === 0,
    seccomp: !["RuntimeDefault", "Localhost"].includes((own.seccompProfile ?? pod.seccompProfile)?.type ?? ""),
    capabilities:
      !capabilities?.drop?.includes("ALL") || (capabilities.add ?? []).some((name) => name !== "NET_BIND_SERVICE"),
  };
  return Object.keys(refused).filter((rule) => refused[rule]);
}
