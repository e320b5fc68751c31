import * as pulumi from "@pulumi/pulumi";
import type { NodeTrustArgs } from "../../components/node-trust.ts";
import { loadSettings } from "../../config/load.ts";
import { SECRET_KEYS } from "../../config/schema.ts";
import type { TrustedNode } from "../../config/settings.ts";
import type { Tools } from "../../lab/tools.ts";
import { rawConfig } from "../unit/stacks.ts";
import { Fleet, type NodeSpec, type TestNode } from "./fleet.ts";
import { PrivateRegistry } from "./private-registry.ts";
import { type CommandInputs, commandsOf, type Run, SmallEngine, sshRun } from "./small-engine.ts";

const NAME = "registry.homelab.test";

/** What differs between two runs of a program. */
export interface Program {
  /** Settings of `nodeTrust`, but for the nodes. */
  settings?: object;
  /** Names of the fleet's nodes that the program knows. Defaults to all. */
  nodes?: string[];
  /** Settings of single nodes, by name. */
  changes?: Record<string, Partial<TrustedNode>>;
  /** Defaults to the registry's user who only pulls. */
  login?: { name: string; password: string };
  /** PEM. Defaults to the registry's. */
  ca?: string;
}

/** Test nodes, a private registry with one image, and an engine that makes the ones trust the other. Needs root. */
export class Homelab {
  readonly tools: Tools;
  readonly fleet: Fleet;
  readonly registry: PrivateRegistry;
  /** Reference of an image that only who trusts the registry can pull. */
  readonly image: string;
  private engine: SmallEngine;

  private constructor(tools: Tools, fleet: Fleet, registry: PrivateRegistry, image: string) {
    this.tools = tools;
    this.fleet = fleet;
    this.registry = registry;
    this.image = image;
    this.engine = new SmallEngine(tools.bin("ssh"));
  }

  static async start(tools: Tools, specs: NodeSpec[]): Promise<Homelab> {
    const registry = await PrivateRegistry.start(tools, NAME);
    try {
      const image = await registry.push("team/app:1.0");
      const fleet = await Fleet.start(tools, specs);
      await fleet.addHost(NAME, fleet.gateway);
      return new Homelab(tools, fleet, registry, image);
    } catch (error) {
      // Its processes would go on for ever: unlike the nodes they do not end with this one.
      await registry.stop();
      throw error;
    }
  }

  node(name: string): TestNode {
    return this.fleet.node(name);
  }

  /** `pulumi up`. */
  up(program: Program = {}): Promise<Run[]> {
    return this.engine.up(this.args(program));
  }

  /** `pulumi destroy`. */
  destroy(): Promise<Run[]> {
    return this.engine.destroy();
  }

  /** One node's command by itself, past any state. `heard` gets what it prints, as it comes. */
  async run(node: string, action: "create" | "delete", program: Program = {}, heard?: (text: string) => void) {
    const inputs = await this.inputs(node, program);
    return sshRun(this.tools.bin("ssh"), inputs, inputs[action], heard);
  }

  /** What one node's shell is given to read. */
  async stdin(node: string, program: Program = {}): Promise<string> {
    return (await this.inputs(node, program)).stdin;
  }

  private async inputs(node: string, program: Program): Promise<CommandInputs> {
    const [command] = await commandsOf(this.args({ ...program, nodes: [node] }));
    return command?.inputs as CommandInputs;
  }

  /** From here on there is no state: what the nodes have is all that is known. */
  forgetState(): void {
    this.engine = new SmallEngine(this.tools.bin("ssh"));
  }

  args({ settings = {}, nodes, changes = {}, login, ca }: Program = {}): NodeTrustArgs {
    const { registry } = this;
    const wanted = this.fleet.nodes.filter(({ name }) => !nodes || nodes.includes(name));
    const config = {
      access: { mode: "node-port", port: registry.pod.layout.gatePort, hosts: [NAME] },
      nodeSshPrivateKey: this.fleet.privateKey,
      nodeTrust: {
        timeLimits: { connect: 5, check: 4, restart: 10, proof: 10, lock: 3 },
        ...settings,
        nodes: wanted.map((node) => ({ ...described(node), ...changes[node.name] })),
      },
    };
    // Other registries' logins are secret too.
    const { nodeTrust } = loadSettings(rawConfig(config, [...SECRET_KEYS, "nodeTrust"]));
    if (!nodeTrust) throw new Error("no nodes are configured");
    const { name, password } = login ?? registry.puller;
    return {
      settings: nodeTrust,
      host: registry.host,
      login: { name, password: pulumi.secret(password) },
      ca: ca ?? registry.ca.certPem,
    };
  }

  async stop(): Promise<void> {
    await this.fleet.stop();
    await this.registry.stop();
  }
}

function described(node: TestNode): Partial<TrustedNode> {
  return {
    ...{ name: node.name, host: node.address, role: node.role, user: node.user, hostKey: node.hostKey },
    ...{ distribution: node.distribution, become: node.user === "root" ? "none" : "sudo" },
  };
}

/** Settings that change what the file says, and so restart the node, but not what it pulls. */
export const another = (name: string) => ({ mirrors: { [`${name}.test`]: { endpoint: ["https://mirror.test"] } } });
