import { spawn } from "node:child_process";
import { open, readFile, rename, stat, unlink } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { isMissing, readIfThere, sha256, writeIfChanged } from "./files.ts";
import { inState } from "./paths.ts";

/** What is known of a process we started. A pid alone is not enough: after its end the kernel gives it to another. */
interface Started {
  pid: number;
  /** Clock ticks from boot to the process's start. */
  startTime: string;
  bootId: string;
  /** Hash of command line and settings: a process started from others is replaced. */
  inputs: string;
}

export interface Service {
  name: string;
  command: string;
  args: string[];
  /** Contents of its settings files, which it reads at start only. */
  settings?: string[];
  env: NodeJS.ProcessEnv;
}

const pidFile = (name: string): string => inState("pid", `${name}.json`);
export const logFile = (name: string): string => inState("log", `${name}.log`);

/** Starts the service unless it runs with these very settings; says whether it had to. */
export async function ensureRunning(service: Service): Promise<boolean> {
  const inputs = sha256(JSON.stringify([service.command, service.args, service.settings ?? []]));
  const running = await findRunning(service.name);
  if (running?.inputs === inputs) return false;
  if (running) await stopService(service.name);
  await start(service, inputs);
  return true;
}

async function start({ name, command, args, env }: Service, inputs: string): Promise<void> {
  await setLargeLogAside(logFile(name));
  const log = await open(logFile(name), "a", 0o600);
  const child = spawn(command, args, { detached: true, stdio: ["ignore", log.fd, log.fd], env, cwd: "/" });
  await new Promise<void>((resolve, reject) => child.once("spawn", resolve).once("error", reject));
  child.unref();
  await log.close();
  const pid = child.pid as number;
  const startTime = await startTimeOf(pid);
  if (startTime === undefined) throw new Error(`${name} ended at once; see ${logFile(name)}`);
  await writeIfChanged(pidFile(name), JSON.stringify({ pid, startTime, bootId: await bootId(), inputs }));
}

async function setLargeLogAside(log: string): Promise<void> {
  const { size } = await stat(log).catch(() => ({ size: 0 }));
  if (size > 10_000_000) await rename(log, `${log}.old`);
}

/** The pid file's process, if it is still the one that was started. */
async function findRunning(name: string): Promise<Started | undefined> {
  const text = await readIfThere(pidFile(name));
  if (text === undefined) return undefined;
  const started = JSON.parse(text) as Started;
  const same = started.bootId === (await bootId()) && started.startTime === (await startTimeOf(started.pid));
  return same ? started : undefined;
}

export async function isRunning(name: string): Promise<boolean> {
  return (await findRunning(name)) !== undefined;
}

export async function pidOf(name: string): Promise<number | undefined> {
  return (await findRunning(name))?.pid;
}

/** Ends the service and waits until it is gone, by force once `patienceMs` are over. */
export async function stopService(name: string, patienceMs = 10_000): Promise<void> {
  const deadline = Date.now() + patienceMs;
  let signal: NodeJS.Signals | undefined = "SIGTERM";
  for (let running = await findRunning(name); running; running = await findRunning(name)) {
    if (Date.now() > deadline) signal = "SIGKILL";
    if (signal) kill(running.pid, signal);
    signal = undefined;
    await sleep(50);
  }
  await unlink(pidFile(name)).catch(() => {});
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

async function startTimeOf(pid: number): Promise<string | undefined> {
  try {
    return parseStartTime(await readFile(`/proc/${pid}/stat`, "utf8"));
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/**
 * The start time in a line of /proc/PID/stat; none for a zombie, which runs no more. Fields are counted from the last
 * parenthesis, because a program's name may contain spaces and parentheses.
 */
export function parseStartTime(stat: string): string | undefined {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" ? undefined : fields[19];
}

async function bootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
}
