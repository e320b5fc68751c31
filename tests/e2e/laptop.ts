import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { tryToConnect } from "../ports.ts";
import { clientTools } from "../tools.ts";
import type { Call, Outcome } from "./aws/call.ts";

/** What a command printed and how it ended. */
export interface Ended {
  exitCode: number | undefined;
  stdout: string;
  stderr: string;
}

interface Running extends PromiseLike<unknown> {
  kill(): boolean;
}

/** Folder of the programs that users might write. */
const PROGRAMS = join(import.meta.dirname, "aws");

/**
 * A computer at home, whose DNS is a dnsmasq that has been given the program's lines and knows nothing else. Commands run on
 * this machine with that resolver, and with these variables instead of this process's.
 */
export class Laptop {
  readonly env: Record<string, string>;
  private readonly folder: string;
  private readonly dns: Running;
  private readonly bin: (name: string) => string;

  private constructor(folder: string, dns: Running, bin: (name: string) => string, env: Record<string, string>) {
    this.folder = folder;
    this.dns = dns;
    this.bin = bin;
    // Programs look for settings in the home folder: this one has none.
    this.env = { PATH: process.env.PATH ?? "", HOME: folder, ...env };
  }

  static async start(dnsmasqLines: string[], env: Record<string, string>): Promise<Laptop> {
    const { bin } = await clientTools();
    const folder = await mkdtemp(join(tmpdir(), "homecloud-laptop-"));
    const address = await freeAddress();
    const config = join(folder, "dnsmasq.conf");
    await writeFile(config, dnsmasqLines.map((line) => `${line}\n`).join(""));
    await writeFile(join(folder, "resolv.conf"), `nameserver ${address}\n`);
    const dns = execa(
      bin("dnsmasq"),
      [
        ...["--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces", "--pid-file=", "--user=root"],
        ...[`--conf-file=${config}`, `--listen-address=${address}`],
      ],
      { reject: false, stdin: "ignore", stdout: "ignore", stderr: "ignore" },
    );
    for (let attempt = 0; !(await listens(address)); attempt++) {
      if (attempt === 50) throw new Error(`dnsmasq does not listen on ${address}`);
      await sleep(100);
    }
    return new Laptop(folder, dns, bin, env);
  }

  /** Starts a command. */
  spawn(command: string, args: string[], env: Record<string, string> = {}) {
    return execa(
      "unshare",
      [
        ...["--mount", "--propagation", "private", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"'],
        ...[join(this.folder, "resolv.conf"), command, ...args],
      ],
      { env: { ...this.env, ...env }, extendEnv: false, reject: false, stdin: "ignore", cwd: this.folder },
    );
  }

  async run(command: string, args: string[], env: Record<string, string> = {}): Promise<Ended> {
    const { exitCode, stdout, stderr } = await this.spawn(command, args, env);
    return { exitCode, stdout, stderr };
  }

  /** Runs one of the programs in `aws/`; returns what it printed. Throws with what it complained of. */
  async program(name: string, args: string[] = [], env: Record<string, string> = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run("node", [programFile(name), ...args], env);
    if (exitCode !== 0) throw new Error(`${name} ${args.join(" ")} failed:\n${stderr}`);
    return stdout;
  }

  /** Operations of the SDK, one after the other, and what came of each. */
  async call(calls: Call[], env: Record<string, string> = {}): Promise<Outcome[]> {
    return JSON.parse(await this.program("call", [JSON.stringify(calls)], env)) as Outcome[];
  }

  /** Debian's AWS CLI. */
  aws(...args: string[]): Promise<Ended> {
    return this.run(this.bin("aws"), args);
  }

  async stop(): Promise<void> {
    this.dns.kill();
    await this.dns;
    await rm(this.folder, { recursive: true, force: true });
  }
}

export const programFile = (name: string): string => join(PROGRAMS, `${name}.ts`);

/** A loopback address on which nobody answers names. Each of vitest's workers has a network of its own to look in. */
async function freeAddress(): Promise<string> {
  const network = `127.0.${53 + Number(process.env.VITEST_POOL_ID ?? 0)}`;
  for (let number = 1; number < 255; number++) {
    const address = `${network}.${number}`;
    if (!(await listens(address))) return address;
  }
  throw new Error("every address that this might use has a DNS server");
}

const listens = async (host: string) => (await tryToConnect({ host, port: 53 })) === "connected";
