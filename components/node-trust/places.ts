import type { TrustedNode } from "../../config/settings.ts";

/** Where a node keeps what it knows of registries, and how its parts are reached. */
export interface Places {
  /** File that is written. */
  file: string;
  /** The CA, beside it. */
  caFile: string;
  /** systemd service that reads the file at its start; undefined where nothing is restarted. */
  service: string | undefined;
  /** crictl of the node's containerd. */
  cri: string;
  /** kubectl of a server. */
  api: string;
}

type Distribution = TrustedNode["distribution"];

/** Folder in which containerd looks for `HOST/hosts.toml`. K3s keeps those that it has not written itself. */
const CERTS_D: Record<Distribution, string> = {
  k3s: "/var/lib/rancher/k3s/agent/etc/containerd/certs.d",
  rke2: "/var/lib/rancher/rke2/agent/etc/containerd/certs.d",
  containerd: "/etc/containerd/certs.d",
};

/** RKE2 keeps its tools off PATH. https://docs.rke2.io/reference/cli_tools */
const RKE2_BIN = "/var/lib/rancher/rke2/bin";

const COMMANDS: Record<Distribution, { cri: string; api: string }> = {
  k3s: { cri: "k3s crictl", api: "k3s kubectl" },
  rke2: {
    cri: `${RKE2_BIN}/crictl --config /var/lib/rancher/rke2/agent/etc/crictl.yaml`,
    api: `${RKE2_BIN}/kubectl --kubeconfig /etc/rancher/rke2/rke2.yaml`,
  },
  containerd: { cri: "crictl", api: "kubectl" },
};

/** Where this node keeps what it is to know of the registry `host`. */
export function placesOf({ distribution, mode, role }: TrustedNode, host: string): Places {
  const folder = mode === "hosts-toml" ? `${CERTS_D[distribution]}/${host}` : settingsFolder(distribution);
  return {
    file: `${folder}/${mode === "hosts-toml" ? "hosts.toml" : REGISTRIES}`,
    // As in node.sh, which keeps there what it needs to go back.
    caFile: `${folder}/homecloud/ca.crt`,
    service: mode === "hosts-toml" ? undefined : serviceOf(distribution, role),
    ...COMMANDS[distribution],
  };
}

/** File that says which hosts.toml the node's Kubernetes writes itself; empty where it writes none. */
export function registriesOf({ distribution }: TrustedNode): string {
  return distribution === "containerd" ? "" : `${settingsFolder(distribution)}/${REGISTRIES}`;
}

/**
 * What tells a node's resource from others of the same name: where it writes. A node whose place changes is told in the
 * new one before the old one is cleaned. A node's name has no dot.
 */
export function placeName({ distribution, mode }: TrustedNode, host: string): string {
  if (mode === "hosts-toml") return `.hosts-toml.${distribution}.${host}`;
  return distribution === "k3s" ? "" : `.${distribution}`;
}

const REGISTRIES = "registries.yaml";
const settingsFolder = (distribution: Distribution): string => `/etc/rancher/${distribution}`;

function serviceOf(distribution: Distribution, role: TrustedNode["role"]): string {
  if (distribution === "rke2") return `rke2-${role}`;
  return role === "server" ? "k3s" : "k3s-agent";
}
