import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { NodeTrustSettings, TrustedNode } from "../config/settings.ts";
import { placeName } from "./node-trust/places.ts";
import { rolloutGroups } from "./node-trust/rollout.ts";
import { remoteCommand, renderStdin } from "./node-trust/stdin.ts";
import { nodeVariables } from "./node-trust/variables.ts";

export interface NodeTrustArgs {
  settings: NodeTrustSettings;
  /** Name that image references carry, with its port where it is not 443. */
  host: string;
  /** The user who only pulls. Secret. */
  login: { name: string; password: pulumi.Input<string> };
  /** PEM certificate of the CA that vouches for the registry. Defaults to the nodes' own CAs. */
  ca?: pulumi.Input<string> | undefined;
}

/** A node and what it was shown to pull from. */
export interface ProvenNode {
  name: string;
  host: string;
  /** Registries that the node has been told of, this stack's first. */
  trusts: string[];
  /** When a pull of the node's own containerd came past name, TLS and login, ISO 8601; undefined before the first. */
  provenAt: string | undefined;
}

/** Attempts to reach a node, each with the time limit that is set, before it counts as unreachable. */
const DIALS = 3;

/**
 * Makes every node pull from the registry with no secret and nothing insecure: registries.yaml (or hosts.toml) over SSH,
 * proven on the node, taken back there where the proof fails. A canary first, servers last and one by one; a failure stops
 * the rest. What is to be there first, such as the registry itself, goes into `dependsOn`.
 */
export class NodeTrust extends pulumi.ComponentResource {
  readonly nodes: pulumi.Output<ProvenNode[]>;
  private readonly args: NodeTrustArgs;

  constructor(name: string, args: NodeTrustArgs, opts: pulumi.ComponentResourceOptions = {}) {
    super("homecloud:index:NodeTrust", name, {}, opts);
    this.args = args;
    const proven: pulumi.Output<ProvenNode>[] = [];
    let before = opts.dependsOn ?? [];
    for (const group of rolloutGroups(args.settings.nodes, args.settings.batch)) {
      const commands = group.map((node) => this.command(name, node, before));
      for (const [index, node] of group.entries()) proven.push(this.proven(node, commands[index]?.stdout));
      before = commands;
    }
    this.nodes = pulumi.all(proven);
    this.registerOutputs({ nodes: this.nodes });
  }

  private command(
    name: string,
    node: TrustedNode,
    dependsOn: NonNullable<pulumi.CustomResourceOptions["dependsOn"]>,
  ): command.remote.Command {
    const { settings } = this.args;
    const apply = remoteCommand("apply", node.become);
    return new command.remote.Command(
      `${name}-${node.name}${placeName(node, this.args.host)}`,
      {
        connection: {
          ...{ host: node.host, port: node.port, user: node.user, hostKey: node.hostKey },
          ...(settings.privateKey === undefined ? {} : { privateKey: pulumi.secret(settings.privateKey) }),
          perDialTimeout: settings.timeLimits.connect,
          dialErrorLimit: DIALS,
        },
        create: apply,
        update: apply,
        delete: remoteCommand("remove", node.become),
        stdin: this.stdin(node),
        // No `triggers`: they replace, which runs the new create and then the old delete. A changed stdin updates in place.
        logging: command.remote.Logging.None,
        // sshd accepts no variables but those it was told to.
        addPreviousOutputInEnv: false,
      },
      // `pulumi up --replace` too must remove before it writes.
      { parent: this, dependsOn, deleteBeforeReplace: true },
    );
  }

  private stdin(node: TrustedNode): pulumi.Output<string> {
    const { settings, host, login, ca } = this.args;
    const stack = `${pulumi.getProject()}/${pulumi.getStack()}`;
    const given = pulumi.all([login.password, ca]);
    return pulumi.secret(
      given.apply(([password, ca]) =>
        renderStdin(nodeVariables(node, { stack, host, login: { name: login.name, password }, ca }, settings)),
      ),
    );
  }

  /** The script prints a time and a word: nothing secret, though its input is. */
  private proven(node: TrustedNode, stdout: pulumi.Output<string> | undefined): pulumi.Output<ProvenNode> {
    const { host, settings } = this.args;
    const trusts = node.mode === "hosts-toml" ? [host] : [...new Set([host, ...Object.keys(settings.mirrors)])];
    return pulumi.unsecret(
      pulumi.output(stdout).apply((printed) => ({
        ...{ name: node.name, host: node.host, trusts },
        provenAt: PROVEN.exec(printed ?? "")?.[1],
      })),
    );
  }
}

/** The last line, whatever the user's shell has said before. */
const PROVEN = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) [a-z ]+$(?![\s\S]*\S)/m;
