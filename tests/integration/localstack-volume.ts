import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";

const scripts = new URL("../../components/localstack/", import.meta.url).pathname;

/** What mend says of a start. */
export interface Report {
  at: string;
  files: { file: string; done: "restored" | "emptied" | "left"; sentence: string; age_seconds: number | null }[];
}

export interface Ended {
  stdout: string;
  stderr: string;
  exitCode: number | undefined;
}

export interface MendOptions {
  /** What runs before Python, as `sh -c` has it. */
  prelude?: string;
  /** Instead of the command `mend`. */
  args?: string[];
  env?: Record<string, string | undefined>;
}

/** A script that runs until it is ended. */
export interface Running {
  pid: number | undefined;
  kill(signal: NodeJS.Signals): boolean;
  ended: Promise<Ended>;
}

/** The folders that LocalStack's scripts work on, and those scripts as processes of this machine. */
export class Volume {
  readonly root: string;
  readonly volume: string;
  readonly persisted: string;
  readonly kept: string;
  readonly scratch: string;
  readonly state: string;
  readonly counters: string;
  private readonly running = new Set<Running>();

  private constructor(root: string) {
    this.root = root;
    this.volume = `${root}/volume`;
    this.persisted = `${this.volume}/persisted-data`;
    this.kept = `${this.volume}/kept`;
    this.scratch = `${this.volume}/scratch`;
    this.state = `${root}/state`;
    this.counters = `${root}/counters`;
  }

  static async make(): Promise<Volume> {
    const volume = new Volume(await mkdtemp(join(tmpdir(), "homecloud-volume-")));
    for (const folder of [volume.persisted, volume.kept, volume.scratch, volume.state, volume.counters])
      await mkdir(folder, { recursive: true });
    return volume;
  }

  get environment(): Record<string, string> {
    return { VOLUME: this.volume, PERSISTED: this.persisted, KEPT: this.kept, SCRATCH: this.scratch };
  }

  /** Writes a state file in place, as localstack-persist does. `secondsAgo` sets its time. */
  async save(name: string, content: string | Uint8Array, secondsAgo = 0): Promise<void> {
    await put(join(this.persisted, name), content, secondsAgo);
  }

  /** Writes a copy, as the watch does. */
  async copy(name: string, content: string | Uint8Array, secondsAgo = 0): Promise<void> {
    await put(join(this.kept, name), content, secondsAgo);
  }

  saved(name: string): Promise<Buffer> {
    return readFile(join(this.persisted, name));
  }

  /** The copy, or undefined where there is none. */
  copied(name: string): Promise<Buffer | undefined> {
    return readFile(join(this.kept, name)).catch(() => undefined);
  }

  async damaged(): Promise<string[]> {
    return (await readdir(`${this.volume}/damaged`).catch(() => [])).toSorted();
  }

  async mend({ prelude = "", args = ["mend"], env = {} }: MendOptions = {}): Promise<Ended> {
    const command = `${prelude} exec python3 "$@"`;
    const { stdout, stderr, exitCode } = await execa("sh", ["-c", command, "sh", `${scripts}keep.py`, ...args], {
      env: { ...process.env, ...this.environment, PYTHONDONTWRITEBYTECODE: "1", ...env },
      extendEnv: false,
      reject: false,
    });
    return { stdout, stderr, exitCode };
  }

  async report(): Promise<Report> {
    return JSON.parse(await readFile(`${this.kept}/mended.json`, "utf8"));
  }

  /** A script of Python's, for what Node cannot make: databases and pickles. */
  async python(script: string, ...args: string[]): Promise<string> {
    return (await execa("python3", ["-c", script, ...args])).stdout;
  }

  /** Starts a script; it ends with `stop` at the latest. */
  run(script: string, env: Record<string, string | undefined>): Running {
    const child = execa("python3", [`${scripts}${script}`], {
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1", ...env },
      extendEnv: false,
      reject: false,
    });
    const ended = child.then(({ stdout, stderr, exitCode }) => ({ stdout, stderr, exitCode }));
    const running = { pid: child.pid, kill: (signal: NodeJS.Signals) => child.kill(signal), ended };
    this.running.add(running);
    return running;
  }

  /** Most bytes of memory that a running script has ever held. */
  async mostMemory(): Promise<number> {
    const statuses = [...this.running].map(({ pid }) => readFile(`/proc/${pid}/status`, "utf8"));
    const kilobytes = (await Promise.all(statuses)).map((status) => Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1]));
    return Math.max(...kilobytes) * 1024;
  }

  async stop(): Promise<void> {
    for (const { kill, ended } of this.running) {
      kill("SIGKILL");
      await ended;
    }
    await rm(this.root, { recursive: true, force: true });
  }
}

async function put(path: string, content: string | Uint8Array, secondsAgo: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
  const time = Date.now() / 1000 - secondsAgo;
  await utimes(path, time, time);
}

/** Until it holds; fails with what was last seen. */
export async function eventually<T>(look: () => Promise<T>, holds: (seen: T) => boolean, seconds = 60): Promise<T> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const seen = await look();
    if (holds(seen)) return seen;
    if (performance.now() > end) throw new Error(`not within ${seconds} s; last seen: ${JSON.stringify(seen)}`);
    await sleep(50);
  }
}

export const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
