import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import type { Tools } from "../../lab/tools.ts";
import { Claim } from "./claim.ts";
import { describeMachine, type NodeSpec } from "./machine.ts";
import { startMachine } from "./machine-process.ts";
import { TestNode } from "./test-node.ts";

export type { NodeSpec } from "./machine.ts";
export { type Ended, type Fault, type NodeProcess, TestNode } from "./test-node.ts";

interface KeyPair {
  private: string;
  public: string;
}

/** Test nodes on a network of their own, on this machine. Needs root. They end with this process, if not before. */
export class Fleet {
  readonly nodes: TestNode[];
  /** This machine, as the nodes see it. */
  readonly gateway: string;
  /** The key that every node's user is reached with: OpenSSH's PEM form, unencrypted. */
  readonly privateKey: string;
  private readonly claim: Claim;

  private constructor(claim: Claim, privateKey: string, nodes: TestNode[]) {
    this.claim = claim;
    this.privateKey = privateKey;
    this.nodes = nodes;
    this.gateway = claim.network.gateway;
  }

  /** Starts the nodes and waits until sshd, the service and kubelet of each are up. */
  static async start(tools: Tools, specs: NodeSpec[]): Promise<Fleet> {
    const claim = await Claim.take(specs.length);
    const key = await makeKey(tools);
    await writeFile(join(claim.folder, "id"), key.private, { mode: 0o600 });
    const started = await Promise.allSettled(specs.map((spec, index) => startNode(tools, claim, key, spec, index)));
    const nodes = started.flatMap((node) => (node.status === "fulfilled" ? [node.value] : []));
    const fleet = new Fleet(claim, key.private, nodes);
    const failure = started.find(({ status }) => status === "rejected");
    if (failure?.status !== "rejected") return fleet;
    await fleet.stop();
    throw failure.reason;
  }

  node(name: string): TestNode {
    const found = this.nodes.find((node) => node.name === name);
    if (!found) throw new Error(`the fleet has no node ${name}`);
    return found;
  }

  /** Lets every node know an address by name. */
  async addHost(name: string, address: string): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.addHost(name, address)));
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.end()));
    await this.claim.release();
  }
}

async function startNode(tools: Tools, claim: Claim, key: KeyPair, spec: NodeSpec, index: number): Promise<TestNode> {
  const host = await makeKey(tools);
  const root = join(claim.folder, spec.name);
  await mkdir(root);
  const machine = describeMachine(spec, { host, user: key.public }, root);
  const process = await startMachine(tools.bin("k3s"), machine, join(claim.folder, `${spec.name}.log`));
  const address = claim.network.address(index);
  const node = new TestNode({
    ...{ spec, process, address, hostKey: host.public },
    ssh: await sshCommand(tools, claim, spec, address, host.public),
    plug: (isIn) => claim.network.plug(index, isIn),
  });
  try {
    await claim.network.connect(process.pid, index);
    await node.reboot();
    await node.untilHealthy();
    return node;
  } catch (error) {
    await node.end();
    throw error;
  }
}

/** A new key, in OpenSSH's form. */
async function makeKey(tools: Tools): Promise<KeyPair> {
  const folder = await mkdtemp(join(tmpdir(), "homecloud-key-"));
  try {
    const path = join(folder, "key");
    await execa(tools.bin("ssh-keygen"), ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path]);
    const [secret, open] = await Promise.all([readFile(path, "utf8"), readFile(`${path}.pub`, "utf8")]);
    return { private: secret, public: open.trim() };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function sshCommand(
  tools: Tools,
  claim: Claim,
  { name, user = "root" }: NodeSpec,
  address: string,
  hostKey: string,
): Promise<string[]> {
  const known = join(claim.folder, `${name}.known_hosts`);
  await writeFile(known, `${address} ${hostKey}\n`);
  const settings = ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", `UserKnownHostsFile=${known}`];
  const options = [...settings, "ConnectTimeout=10", "LogLevel=ERROR"].flatMap((setting) => ["-o", setting]);
  return [tools.bin("ssh"), "-F", "none", "-T", "-i", join(claim.folder, "id"), ...options, `${user}@${address}`];
}
