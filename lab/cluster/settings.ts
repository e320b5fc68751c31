import { stringify } from "yaml";
import { LAB_IMAGES } from "../images/refs.ts";
import { BRIDGE, CLUSTER_DNS, NODE_ADDRESS, NODE_NAME, POD_CIDR, PORTS } from "../network.ts";

/** Folders and sockets that the settings name. */
export interface Places {
  state: string;
  run: string;
  cniPlugins: string;
  caFile: string;
}

/** containerd's settings, in the version that containerd 1.6 to 2.x all read. */
export function renderContainerdToml({ state, run, cniPlugins }: Places): string {
  return `version = 2
root = "${state}/containerd"
state = "${run}/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs"]

[grpc]
  address = "${run}/containerd.sock"

[ttrpc]
  address = "${run}/containerd.sock.ttrpc"

[plugins."io.containerd.internal.v1.opt"]
  path = "${state}/opt"

[plugins."io.containerd.grpc.v1.cri"]
  # Where root may not lower oom_score_adj (no CAP_SYS_RESOURCE), runc dies without it:
  # "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  sandbox_image = "${LAB_IMAGES.pause}"
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${cniPlugins}"
    conf_dir = "${state}/cni"

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "${run}/runc"

  [plugins."io.containerd.grpc.v1.cri".registry]
    # containerd reads HOST/hosts.toml in here at every pull, with no restart.
    config_path = "${state}/certs.d"
`;
}

/**
 * Pod network. No ipMasq and no portmap: they make a chain for every pod, which stays when the pod is not taken down
 * one by one; a single rule of the lab's masquerades for all (host-network.ts).
 */
export function renderCniConflist({ run }: Places): string {
  const bridge = {
    type: "bridge",
    bridge: BRIDGE,
    isGateway: true,
    hairpinMode: true,
    ipam: {
      type: "host-local",
      dataDir: `${run}/leases`,
      ranges: [[{ subnet: POD_CIDR, gateway: NODE_ADDRESS }]],
      routes: [{ dst: "0.0.0.0/0" }],
    },
  };
  return `${JSON.stringify({ cniVersion: "0.4.0", name: "homecloud", plugins: [bridge] }, null, 2)}\n`;
}

export function renderKubeletConfig(
  { state, run, caFile }: Places,
  certificate: { certFile: string; keyFile: string },
): string {
  return stringify({
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    address: NODE_ADDRESS,
    port: PORTS.kubelet,
    readOnlyPort: 0,
    healthzBindAddress: "127.0.0.1",
    healthzPort: PORTS.kubeletHealth,
    tlsCertFile: certificate.certFile,
    tlsPrivateKeyFile: certificate.keyFile,
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: caFile } },
    authorization: { mode: "Webhook" },
    cgroupDriver: "cgroupfs",
    // Kubelets from 1.35 on refuse cgroup v1 otherwise.
    failCgroupV1: false,
    failSwapOn: false,
    containerRuntimeEndpoint: `unix://${run}/containerd.sock`,
    clusterDNS: [CLUSTER_DNS],
    clusterDomain: "cluster.local",
    resolvConf: `${state}/resolv.conf`,
    // A changed ConfigMap comes into its pods with the next sync: names below coredns-custom in seconds, not in two minutes.
    syncFrequency: "5s",
    podLogsDir: `${state}/pod-logs`,
    volumePluginDir: `${state}/volume-plugins`,
    // Shares of the disk would be shares of somebody's workstation: on one that is 86 % full, the images, which
    // nothing could pull again, would be collected and the pods evicted.
    imageGCHighThresholdPercent: 100,
    evictionHard: { "memory.available": "100Mi", "nodefs.available": "500Mi", "imagefs.available": "500Mi" },
  });
}

export function renderProxyConfig(kubeconfig: string): string {
  return stringify({
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "iptables",
    hostnameOverride: NODE_NAME,
    clientConnection: { kubeconfig },
    clusterCIDR: POD_CIDR,
    bindAddress: NODE_ADDRESS,
    healthzBindAddress: `127.0.0.1:${PORTS.proxyHealth}`,
    metricsBindAddress: `127.0.0.1:${PORTS.proxyMetrics}`,
    // NodePorts answer on this machine only.
    nodePortAddresses: ["127.0.0.0/8"],
    iptables: { localhostNodePorts: true },
    // 0: leave the machine's connection tracking as it is.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
  });
}
