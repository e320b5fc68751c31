/**
 * Names, addresses and ports of the lab. All differ from Kubernetes' defaults and K3s' (10.42.0.0/16, 6443 …), so that
 * neither is disturbed by accident.
 */
export const NODE_NAME = "homecloud-lab";
export const BRIDGE = "homecloud0";
export const POD_CIDR = "10.142.0.0/24";
export const SERVICE_CIDR = "10.143.0.0/16";
export const CLUSTER_DNS = "10.143.0.10";
export const KUBERNETES_SERVICE = "10.143.0.1";

/**
 * The bridge's address is the node's: pods reach it, other machines do not, and it stays the same when a laptop
 * changes networks. The API server and kubelet listen there, all else on loopback.
 */
export const NODE_ADDRESS = "10.142.0.1";
/** As CNI's plugins make them: 0a:58 and the address. */
export const BRIDGE_MAC = "0a:58:0a:8e:00:01";

export const PORTS = {
  apiServer: 16443,
  etcdClient: 12379,
  etcdPeer: 12380,
  kubelet: 11250,
  kubeletHealth: 11248,
  controllerManager: 16257,
  scheduler: 16259,
  proxyHealth: 16256,
  proxyMetrics: 16249,
} as const;

export const API_SERVER_URL = `https://${NODE_ADDRESS}:${PORTS.apiServer}`;
