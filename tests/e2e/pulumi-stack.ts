import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { parse, stringify } from "yaml";

const root = resolve(import.meta.dirname, "../..");

/** How a command ended. */
export interface Ended {
  exitCode: number | undefined;
  stdout: string;
  /** Everything that it printed. */
  all: string;
  seconds: number;
}

/** A command of Pulumi's that is at work. */
export interface Running {
  ended: Promise<Ended>;
  /** Resolves once it has printed this. */
  says(pattern: RegExp): Promise<void>;
  /** What Ctrl-C is: the signal goes to everything that the terminal runs. */
  interrupt(): void;
  /** Ends the engine alone, by force. */
  kill(): void;
}

type Printed = Pick<Ended, "stdout" | "all"> & { exitCode?: number | undefined };

/** A stack of the real program, run by Pulumi's real engine, whose state and settings are kept in a folder of its own. */
export class PulumiStack {
  readonly name: string;
  /** All that the engine writes: the stack's file, its state with history and backups, its own settings and logs. */
  readonly folder: string;
  /** Everything that was printed so far, but for what was asked for with --show-secrets. */
  printed = "";
  private readonly env: NodeJS.ProcessEnv;
  /** First processes of what was started to be interrupted. */
  private readonly sessions: number[] = [];

  private constructor(name: string, folder: string, env: NodeJS.ProcessEnv) {
    this.name = name;
    this.folder = folder;
    this.env = env;
  }

  static async init(name: string, env: NodeJS.ProcessEnv): Promise<PulumiStack> {
    const folder = await mkdtemp(join(tmpdir(), "homecloud-pulumi-"));
    for (const part of ["backend", "home"]) await mkdir(join(folder, part));
    const stack = new PulumiStack(name, folder, {
      ...env,
      PATH: `${join(root, "node_modules", ".bin")}:${env.PATH}`,
      PULUMI_HOME: join(folder, "home"),
      PULUMI_BACKEND_URL: `file://${join(folder, "backend")}`,
      PULUMI_CONFIG_PASSPHRASE: "only for tests",
      PULUMI_SKIP_UPDATE_CHECK: "true",
    });
    // `stack init` writes the salt of the stack's secrets into the stack's file: here, not into the repository.
    await writeFile(join(folder, "Pulumi.yaml"), await readFile(join(root, "Pulumi.yaml")));
    await execa("pulumi", ["--non-interactive", "stack", "init", name], { env: stack.env, cwd: folder });
    await stack.shell(`pulumi stack select ${name}`);
    return stack;
  }

  /** Sets these keys and leaves all others as they are, secrets among them. */
  async configure(config: Record<string, unknown>): Promise<void> {
    const content = parse(await readFile(this.file, "utf8")) as { config?: object };
    await writeFile(this.file, stringify({ ...content, config: { ...content.config, ...config } }));
  }

  /** Runs a command of Pulumi's on this stack. */
  async pulumi(args: string[], input = ""): Promise<Ended> {
    return this.run("pulumi", this.command(args), input);
  }

  /** Runs a line of shell as a person types it in the program's folder, with this stack selected. */
  shell(line: string): Promise<Ended> {
    return this.run("bash", ["-c", line], "");
  }

  /** Starts a command of Pulumi's that is to be interrupted, as in a terminal of its own. */
  start(args: string[]): Running {
    const began = Date.now();
    const options = { env: this.env, cwd: root, all: true, reject: false, detached: true, stdin: "ignore" } as const;
    const running = execa("pulumi", this.command(args), options);
    const pid = running.pid as number;
    this.sessions.push(pid);
    let heard = "";
    let isOver = false;
    running.all.on("data", (data: Buffer) => {
      heard += data;
    });
    return {
      ended: running.then((result) => {
        isOver = true;
        return this.ended(args, began, result);
      }),
      says: async (pattern) => {
        while (!pattern.test(heard)) {
          if (isOver) throw new Error(`pulumi ended and never said ${pattern}:\n${heard}`);
          await sleep(20);
        }
      },
      interrupt: () => process.kill(-pid, "SIGINT"),
      kill: () => process.kill(pid, "SIGKILL"),
    };
  }

  /** Ends what engines that were killed have left behind: their plugins do not notice. */
  async sweep(): Promise<void> {
    const sessions = this.sessions.splice(0).join(",");
    if (sessions === "") return;
    const { stdout } = await execa("ps", ["-s", sessions, "-o", "pid=,stat="], { reject: false });
    const alive = stdout.split("\n").filter((line) => /\d/.test(line) && !line.includes("Z"));
    const pids = alive.map((line) => String(Number.parseInt(line, 10)));
    // One that ends meanwhile is no error.
    if (pids.length > 0) await execa("kill", ["-9", ...pids], { reject: false });
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  private get file(): string {
    return join(this.folder, `Pulumi.${this.name}.yaml`);
  }

  private command(args: string[]): string[] {
    const withFile = ["stack", "state", "cancel"].includes(args[0] ?? "") ? [] : ["--config-file", this.file];
    return ["--non-interactive", "--stack", this.name, ...args, ...withFile];
  }

  private async run(program: string, args: string[], input: string): Promise<Ended> {
    const began = Date.now();
    const options = { env: this.env, cwd: root, all: true, reject: false, input } as const;
    return this.ended(args, began, await execa(program, args, options));
  }

  private ended(args: string[], began: number, { exitCode, stdout, all }: Printed): Ended {
    if (!args.includes("--show-secrets")) this.printed += `$ ${args.join(" ")}\n${all}\n`;
    return { exitCode, stdout, all, seconds: (Date.now() - began) / 1000 };
  }
}

/** What the engine has done to the nodes' resources, in its order: `creating agent-1`, `created agent-1`. */
export function nodeSteps({ all }: Ended): string[] {
  const lines = all.matchAll(/ command:remote:Command node-trust-(\S+) (?:\*\*)?(\w+(?: failed)?)/g);
  return [...new Set([...lines].map(([, node, step]) => `${step} ${node}`))];
}

/** The output without dots, outputs, and what the engine has to say of plugins that it finds on PATH. */
export function told({ all }: Ended): string {
  const lines = all.replace(/^Outputs:.*?^(?=Resources:)/ms, "").split("\n");
  return lines.filter((line) => !/from \$PATH at|wrong version may be on|^@ |^\s*$/.test(line)).join("\n");
}
