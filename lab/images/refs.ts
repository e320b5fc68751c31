import { COREDNS, LOCAL_PATH_PROVISIONER } from "../versions.ts";

/** References of the images that only the lab uses. */
export const LAB_IMAGES = {
  pause: "registry.k8s.io/pause:3.10",
  busybox: "docker.io/library/busybox:1.37",
  coredns: `docker.io/coredns/coredns:${COREDNS.slice(1)}`,
  localPath: `docker.io/rancher/local-path-provisioner:${LOCAL_PATH_PROVISIONER}`,
} as const;
