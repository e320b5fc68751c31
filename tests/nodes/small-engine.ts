import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { execa } from "execa";
import { NodeTrust, type NodeTrustArgs } from "../../components/node-trust.ts";
import { Engine, type Recorded } from "../unit/mocks.ts";

/** How one command on one node ended. */
export interface Run {
  /** The node's resource, without the component's name before it. */
  node: string;
  action: "create" | "update" | "delete" | "same" | "skipped";
  ok: boolean;
  /** Everything that it printed, as Pulumi shows it when a command fails. */
  output: string;
  stdout: string;
  /** Milliseconds since the epoch. */
  began: number;
  ended: number;
}

export interface CommandInputs {
  connection: { host: string; port: number; user: string; hostKey: string; privateKey: string; perDialTimeout: number };
  create: string;
  update: string;
  delete: string;
  stdin: string;
}

/**
 * As much of Pulumi's engine as nodes need, for machines that have none: the component's own resources in the order of
 * their dependencies, each run over real SSH, as @pulumi/command 1.2.1 does it (remote/commandController.go): a changed input
 * is an update in place, whoever depends on a failure is skipped, and what is no longer wanted is deleted last, in reverse.
 * tests/e2e/node-trust-pulumi.test.ts does the same with the real engine.
 */
export class SmallEngine {
  private readonly state = new Map<string, CommandInputs>();
  private readonly ssh: string;

  constructor(ssh: string) {
    this.ssh = ssh;
  }

  /** `pulumi up` of a program that is nothing but this component. */
  async up(args: NodeTrustArgs): Promise<Run[]> {
    const wanted = await commandsOf(args);
    const runs = await inOrder(wanted, (command) => this.apply(command));
    if (runs.some(({ ok }) => !ok)) return runs;
    const names = new Set(wanted.map(({ name }) => name));
    return [...runs, ...(await this.deleteAll([...this.state.keys()].filter((name) => !names.has(name))))];
  }

  /** `pulumi destroy`. */
  destroy(): Promise<Run[]> {
    return this.deleteAll([...this.state.keys()]);
  }

  private async apply({ name, inputs }: Recorded): Promise<Run> {
    const wanted = inputs as CommandInputs;
    const former = this.state.get(name);
    if (former && JSON.stringify(former) === JSON.stringify(wanted)) return ended(name, "same");
    const run = await this.run(name, former ? "update" : "create", wanted);
    if (run.ok) this.state.set(name, wanted);
    return run;
  }

  private async deleteAll(names: string[]): Promise<Run[]> {
    const runs: Run[] = [];
    for (const name of names.reverse()) {
      const run = await this.run(name, "delete", this.state.get(name) as CommandInputs);
      runs.push(run);
      if (!run.ok) return runs;
      this.state.delete(name);
    }
    return runs;
  }

  private async run(name: string, action: "create" | "update" | "delete", inputs: CommandInputs): Promise<Run> {
    const began = Date.now();
    const { exitCode, all, stdout } = await sshRun(this.ssh, inputs, inputs[action]);
    return { ...ended(name, action), ok: exitCode === 0, output: all, stdout, began, ended: Date.now() };
  }
}

const ended = (name: string, action: Run["action"]): Run => ({
  ...{ node: /^node-trust-([^.]*)/.exec(name)?.[1] ?? name, action, ok: action !== "skipped", output: "", stdout: "" },
  ...{ began: Date.now(), ended: Date.now() },
});

/** The commands that the component registers, in the order in which it does. */
export async function commandsOf(args: NodeTrustArgs): Promise<Recorded[]> {
  const engine = await Engine.start();
  new NodeTrust("node-trust", args);
  await pulumi.runtime.disconnect();
  return engine.all("Command");
}

/** Each as soon as everything that it depends on has succeeded. */
function inOrder(commands: Recorded[], run: (command: Recorded) => Promise<Run>): Promise<Run[]> {
  const started = new Map<string, Promise<Run>>();
  const start = (command: Recorded): Promise<Run> => {
    const needed = commands.filter(({ name }) => command.options.dependsOn.includes(name));
    return Promise.all(needed.map((other) => started.get(other.name) as Promise<Run>)).then((before) =>
      before.every(({ ok }) => ok) ? run(command) : ended(command.name, "skipped"),
    );
  };
  for (const command of commands) started.set(command.name, start(command));
  return Promise.all(started.values());
}

/** One command on a node, over SSH, with the node's host key verified. `heard` gets what it prints, as it comes. */
export async function sshRun(
  ssh: string,
  { connection, stdin }: CommandInputs,
  command: string,
  heard: (text: string) => void = () => {},
) {
  const { host, port, user, hostKey, privateKey, perDialTimeout } = connection;
  const folder = await mkdtemp(join(tmpdir(), "homecloud-ssh-"));
  await writeFile(join(folder, "key"), `${privateKey.trimEnd()}\n`, { mode: 0o600 });
  await writeFile(join(folder, "known_hosts"), `${port === 22 ? host : `[${host}]:${port}`} ${hostKey}\n`);
  const options = {
    ...{ BatchMode: "yes", StrictHostKeyChecking: "yes", UserKnownHostsFile: join(folder, "known_hosts") },
    ...{ GlobalKnownHostsFile: "/dev/null", IdentitiesOnly: "yes", ConnectTimeout: String(perDialTimeout) },
  };
  const flags = Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  const args = [
    "-F",
    "none",
    "-T",
    ...flags,
    "-i",
    join(folder, "key"),
    "-p",
    String(port),
    `${user}@${host}`,
    command,
  ];
  const running = execa(ssh, args, { input: stdin, all: true, reject: false });
  running.all.on("data", (data: Buffer) => heard(String(data)));
  const { exitCode, all, stdout } = await running;
  await rm(folder, { recursive: true });
  return { exitCode, all, stdout };
}
