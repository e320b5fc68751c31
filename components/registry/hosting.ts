import { stringify } from "yaml";

/**
 * What tools such as Tilt and Skaffold look for to find a cluster's registry.
 * Source: https://github.com/kubernetes/enhancements/tree/master/keps/sig-cluster-lifecycle/generic/1755-communicating-a-local-registry
 */
export function localRegistryHosting(host: string): Record<string, string> {
  return {
    "localRegistryHosting.v1": stringify({
      host,
      hostFromContainerRuntime: host,
      help: "https://github.com/kubernetes/enhancements/tree/master/keps/sig-cluster-lifecycle/generic/1755-communicating-a-local-registry",
    }),
  };
}
