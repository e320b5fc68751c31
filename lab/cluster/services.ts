import { readFile } from "node:fs/promises";
import { writeIfChanged } from "../files.ts";
import { architecture } from "../images/docker-archive.ts";
import { CLUSTER_DNS, NODE_ADDRESS, NODE_NAME, PORTS, SERVICE_CIDR } from "../network.ts";
import { inState, runDir, stateDir } from "../paths.ts";
import type { Service } from "../processes.ts";
import { cniPlugins, type Tools } from "../tools.ts";
import { componentKubeconfig } from "./kubeconfig.ts";
import { certificatePath, keyPath } from "./pki.ts";
import {
  type Places,
  renderCniConflist,
  renderContainerdToml,
  renderKubeletConfig,
  renderProxyConfig,
} from "./settings.ts";

/** In the order in which they start; they stop in the reverse order. */
export const SERVICE_NAMES = [
  "containerd",
  "etcd",
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kubelet",
  "kube-proxy",
] as const;

export type ServiceName = (typeof SERVICE_NAMES)[number];

const places: Places = { state: stateDir, run: runDir, cniPlugins, caFile: certificatePath("ca") };

/** Writes the settings files and returns how each service is started. */
export async function describeServices(tools: Tools): Promise<Record<ServiceName, Service>> {
  await writeIfChanged(inState("cni", "10-homecloud.conflist"), renderCniConflist(places));
  // Only for pods that ask for the node's resolver; CoreDNS gets the machine's resolvers by address (addons.ts).
  await writeIfChanged(inState("resolv.conf"), `nameserver ${CLUSTER_DNS}\n`);
  const files = {
    containerd: renderContainerdToml(places),
    kubelet: renderKubeletConfig(places, { certFile: certificatePath("kubelet"), keyFile: keyPath("kubelet") }),
    "kube-proxy": renderProxyConfig(componentKubeconfig("proxy")),
  };
  const configPath = (name: keyof typeof files): string =>
    inState("config", `${name}.${name === "containerd" ? "toml" : "yaml"}`);
  for (const name of Object.keys(files) as (keyof typeof files)[]) await writeIfChanged(configPath(name), files[name]);
  // A new CA means new certificates for all.
  const ca = await readFile(certificatePath("ca"), "utf8");
  const service = (name: ServiceName, args: string[], ...settings: string[]): Service => ({
    name,
    command: tools.bin(name),
    args,
    settings: [...settings, ca],
    env: tools.env,
  });
  return {
    containerd: service("containerd", ["--config", configPath("containerd")], files.containerd),
    // etcd 3.4 runs on arm64 only if told that one knows it was not tested there.
    etcd: { ...service("etcd", etcdArgs()), env: { ...tools.env, ETCD_UNSUPPORTED_ARCH: architecture } },
    "kube-apiserver": service("kube-apiserver", apiServerArgs()),
    "kube-controller-manager": service("kube-controller-manager", controllerManagerArgs()),
    "kube-scheduler": service("kube-scheduler", schedulerArgs()),
    kubelet: service("kubelet", kubeletArgs(configPath("kubelet")), files.kubelet),
    "kube-proxy": service("kube-proxy", [`--config=${configPath("kube-proxy")}`], files["kube-proxy"]),
  };
}

function etcdArgs(): string[] {
  const client = `https://127.0.0.1:${PORTS.etcdClient}`;
  const peer = `https://127.0.0.1:${PORTS.etcdPeer}`;
  const tls = [
    "cert-file",
    certificatePath("etcd"),
    "key-file",
    keyPath("etcd"),
    "trusted-ca-file",
    certificatePath("ca"),
  ];
  const flags = ["--client-cert-auth", "--peer-client-cert-auth"];
  for (let i = 0; i < tls.length; i += 2) flags.push(`--${tls[i]}=${tls[i + 1]}`, `--peer-${tls[i]}=${tls[i + 1]}`);
  return [
    `--data-dir=${inState("etcd")}`,
    "--name=lab",
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=lab=${peer}`,
    ...flags,
  ];
}

function apiServerArgs(): string[] {
  return [
    `--bind-address=${NODE_ADDRESS}`,
    `--advertise-address=${NODE_ADDRESS}`,
    `--secure-port=${PORTS.apiServer}`,
    `--tls-cert-file=${certificatePath("apiserver")}`,
    `--tls-private-key-file=${keyPath("apiserver")}`,
    `--client-ca-file=${certificatePath("ca")}`,
    "--authorization-mode=Node,RBAC",
    "--enable-admission-plugins=NodeRestriction",
    `--etcd-servers=https://127.0.0.1:${PORTS.etcdClient}`,
    `--etcd-cafile=${certificatePath("ca")}`,
    `--etcd-certfile=${certificatePath("etcd")}`,
    `--etcd-keyfile=${keyPath("etcd")}`,
    // Without a certificate that the kubelet trusts, `kubectl logs` and `exec` are refused.
    `--kubelet-client-certificate=${certificatePath("apiserver-kubelet-client")}`,
    `--kubelet-client-key=${keyPath("apiserver-kubelet-client")}`,
    `--kubelet-certificate-authority=${certificatePath("ca")}`,
    "--kubelet-preferred-address-types=InternalIP",
    "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    `--service-account-key-file=${keyPath("service-account")}`,
    `--service-account-signing-key-file=${keyPath("service-account")}`,
    `--service-cluster-ip-range=${SERVICE_CIDR}`,
    "--allow-privileged=true",
  ];
}

function controllerManagerArgs(): string[] {
  return [
    "--bind-address=127.0.0.1",
    `--secure-port=${PORTS.controllerManager}`,
    `--kubeconfig=${componentKubeconfig("controller-manager")}`,
    `--cert-dir=${inState("pki")}`,
    `--root-ca-file=${certificatePath("ca")}`,
    `--service-account-private-key-file=${keyPath("service-account")}`,
    "--use-service-account-credentials",
    "--leader-elect=false",
    `--flex-volume-plugin-dir=${inState("volume-plugins")}`,
  ];
}

function schedulerArgs(): string[] {
  return [
    "--bind-address=127.0.0.1",
    `--secure-port=${PORTS.scheduler}`,
    `--kubeconfig=${componentKubeconfig("scheduler")}`,
    `--cert-dir=${inState("pki")}`,
    "--leader-elect=false",
  ];
}

function kubeletArgs(config: string): string[] {
  return [
    `--config=${config}`,
    `--kubeconfig=${componentKubeconfig("kubelet")}`,
    `--root-dir=${inState("kubelet")}`,
    `--cert-dir=${inState("pki")}`,
    `--hostname-override=${NODE_NAME}`,
    `--node-ip=${NODE_ADDRESS}`,
  ];
}
