import { writeFile } from "node:fs/promises";
import { execa } from "execa";
import { libraryPath } from "../debian.ts";
import { exists } from "../files.ts";
import { BRIDGE, BRIDGE_MAC, NODE_ADDRESS, POD_CIDR, PORTS } from "../network.ts";
import { type Tools, unpackedProgram, writeWrapper } from "../tools.ts";
import { netfilterCleanup } from "./netfilter-cleanup.ts";
import { setSysctl } from "./sysctls.ts";

const COMMENT = "homecloud-lab";

/** What kube-proxy refuses, with ICMP: connections to NodePorts whose service has no pod that is ready. */
const REFUSALS = "KUBE-EXTERNAL-SERVICES";

/**
 * Rules beside kube-proxy's. Pods reach the API server and the world, whatever policy ufw or Docker have set.
 *
 * The last: kube-proxy refuses connections on their way in only. One from this machine to itself has been on its way out
 * before: the kernel then keeps it for 120 s as one that is not translated, and refuses the next one from the same port, pods
 * or not (seen in two of three runs of e2e/gc's 20 rounds). Refused on its way out it leaves nothing.
 */
const RULES = [
  `filter INPUT -i ${BRIDGE} -p tcp --dport ${PORTS.apiServer} -j ACCEPT`,
  `filter FORWARD -i ${BRIDGE} -j ACCEPT`,
  `filter FORWARD -o ${BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
  `nat POSTROUTING -s ${POD_CIDR} ! -o ${BRIDGE} -j MASQUERADE`,
  `filter OUTPUT -d 127.0.0.0/8 -m conntrack --ctstate NEW -j ${REFUSALS}`,
];

/** Makes iptables, the bridge with the node's address, the pods' way out, and that refusals leave nothing. */
export async function ensureHostNetwork(tools: Tools): Promise<void> {
  await chooseIptables();
  await ensureBridge();
  await setSysctl("net/ipv4/ip_forward", "1");
  const iptables = tools.bin("iptables");
  // Where kube-proxy has not made it yet; it takes a chain that it finds.
  await execa(iptables, ["-w", "-t", "filter", "-N", REFUSALS], { reject: false });
  for (const rule of RULES) await ensureRule(iptables, rule);
}

async function ensureRule(iptables: string, rule: string): Promise<void> {
  const [table = "", chain = "", ...matches] = rule.split(" ");
  const run = (action: string, reject: boolean) =>
    execa(iptables, ["-w", "-t", table, action, chain, ...matches, "-m", "comment", "--comment", COMMENT], { reject });
  if ((await run("-C", false)).failed) await run("-I", true);
}

async function ensureBridge(): Promise<void> {
  if (!(await exists(`/sys/class/net/${BRIDGE}`))) await execa("ip", ["link", "add", BRIDGE, "type", "bridge"]);
  // One that is not given an address has the lowest of its pods', and another with each that comes or goes (three in 40 s
  // of the tests): what the other pods send to the former one is lost until they have asked for it again.
  await execa("ip", ["link", "set", BRIDGE, "address", BRIDGE_MAC]);
  await execa("ip", ["address", "replace", `${NODE_ADDRESS}/24`, "dev", BRIDGE]);
  await execa("ip", ["link", "set", BRIDGE, "up"]);
  // The answer of a service's pod must pass iptables to get the service's address back, also where it stays on the
  // bridge. Set for this bridge alone: the sysctl of the same name changes virtual machines' bridges too.
  await loadBridgeFilter();
  await writeFile(`/sys/class/net/${BRIDGE}/bridge/nf_call_iptables`, "1");
}

async function loadBridgeFilter(): Promise<void> {
  if (await exists("/proc/sys/net/bridge")) return;
  await execa("modprobe", ["br_netfilter"]);
  for (const family of ["iptables", "ip6tables"]) await setSysctl(`net/bridge/bridge-nf-call-${family}`, "0");
}

/** Debian picks a variant in /etc/alternatives; here the wrappers do: nft where the kernel can, else legacy. */
async function chooseIptables(): Promise<void> {
  const libraries = await libraryPath();
  const modules = libraries.split(":").map((folder) => `${folder}/xtables`);
  const env = { XTABLES_LIBDIR: modules.join(":") };
  const program = await unpackedProgram(
    (await nftWorks(env, libraries)) ? "xtables-nft-multi" : "xtables-legacy-multi",
  );
  for (const family of ["iptables", "ip6tables"]) {
    for (const suffix of ["", "-save", "-restore"]) {
      const name = `${family}${suffix}`;
      await writeWrapper(name, { program, args: [name], libraryPath: libraries, env });
    }
  }
}

/** Tried in a network namespace of its own, with what kube-proxy's rules are made of. */
async function nftWorks(env: Record<string, string>, libraries: string): Promise<boolean> {
  const program = await unpackedProgram("xtables-nft-multi");
  const rule =
    "-t nat -A POSTROUTING -m comment --comment x -m statistic --mode random --probability 0.5 -j MASQUERADE";
  const { failed } = await execa("unshare", ["--net", program, "iptables", ...rule.split(" ")], {
    env: { ...env, LD_LIBRARY_PATH: libraries },
    reject: false,
  });
  return !failed;
}

/** Takes the rules of kube-proxy, kubelet and ours away, and the bridge. */
export async function removeHostNetwork(tools: Tools): Promise<void> {
  if (await exists(tools.bin("iptables"))) {
    await execa(tools.bin("kube-proxy"), ["--cleanup"], { env: tools.env, reject: false });
    for (const family of ["iptables", "ip6tables"]) await sweep(tools.bin(family));
  }
  if (await exists(`/sys/class/net/${BRIDGE}`)) await execa("ip", ["link", "delete", BRIDGE]);
}

/** `kube-proxy --cleanup` leaves kubelet's chains and the canaries. */
async function sweep(command: string): Promise<void> {
  const { stdout, failed } = await execa(`${command}-save`, { reject: false });
  const input = failed ? "" : netfilterCleanup(stdout, COMMENT);
  if (input !== "") await execa(`${command}-restore`, ["-w", "--noflush"], { input });
}
