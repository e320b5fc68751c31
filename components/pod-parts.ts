import type { types } from "@pulumi/kubernetes";

export type Container = types.input.core.v1.Container;
export type PodSpec = types.input.core.v1.PodSpec;
export type Volume = types.input.core.v1.Volume;
export type VolumeMount = types.input.core.v1.VolumeMount;

/** The container with nothing that it could do beyond its work: no other user, no capability, a root that cannot change. */
export function hardened(container: Container): Container {
  return {
    ...container,
    securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } },
  };
}

/** What every pod of ours is told: one user that is not root, so that its containers read each other's files. */
export function unprivileged(user: number): Pick<PodSpec, "automountServiceAccountToken" | "enableServiceLinks"> & {
  securityContext: types.input.core.v1.PodSecurityContext;
} {
  return {
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: user,
      runAsGroup: user,
      fsGroup: user,
      fsGroupChangePolicy: "OnRootMismatch",
      seccompProfile: { type: "RuntimeDefault" },
    },
  };
}

/** Where a pod may run. Left out where empty: the API server drops empty ones, and every preview would show a change. */
export function placement({
  nodeSelector,
  tolerations,
}: {
  nodeSelector: Record<string, string>;
  tolerations: types.input.core.v1.Toleration[];
}): Pick<PodSpec, "nodeSelector" | "tolerations"> {
  return {
    ...(Object.keys(nodeSelector).length > 0 ? { nodeSelector } : {}),
    ...(tolerations.length > 0 ? { tolerations } : {}),
  };
}

/** Alive as long as something listens there. */
export const listens = (port: string | number): types.input.core.v1.Probe => ({
  tcpSocket: { port },
  initialDelaySeconds: 10,
  periodSeconds: 20,
  timeoutSeconds: 5,
});

/** A volume on memory. */
export const memory = (name: string, sizeLimit: string): Volume => ({
  name,
  emptyDir: { medium: "Memory", sizeLimit },
});

export function environment(values: Record<string, string>): { name: string; value: string }[] {
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}
