import { readFileSync } from "node:fs";
import { PassThrough, type Readable, type Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import type { V1Pod } from "@kubernetes/client-node";
import type { Kube } from "../cluster/kube.ts";
import { UserError } from "../errors.ts";
import { NoBackup } from "./format.ts";

/** Where commands run. */
export interface Place {
  kube: Pick<Kube, "exec" | "run">;
  pod: V1Pod;
  container: string;
}

export type ScriptName = "registry-pod" | "localstack-pod";

/** A command of a script here, which is handed over as an argument: the pod need not have it. */
export function scriptCommand(name: ScriptName, command: string): string[] {
  const script = readFileSync(new URL(`${name}.sh`, import.meta.url), "utf8");
  return ["sh", "-c", script, name, command];
}

/** What a script complained of, as a sentence; else whatever its programs did. */
export function complaint(name: ScriptName, stderr: string): string {
  const lines = stderr.split("\n").map((line) => line.trim());
  const own = lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
  return (own.length > 0 ? own : lines.filter((line) => line !== "")).slice(0, 5).join("; ");
}

/** Runs a script's command and hands its output on while it comes. Throws a UserError with what it complained of. */
export async function readFrom(
  { kube, pod, container }: Place,
  name: ScriptName,
  command: string,
  taken: (output: Readable) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const [stdout, stderr] = [new PassThrough({ highWaterMark: 2 ** 20 }), new PassThrough()];
  const said = text(stderr);
  const stop = () => stdout.destroy(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  // Told by the reader, too.
  stdout.on("error", () => undefined);
  const ended = kube.exec(pod, container, scriptCommand(name, command), { stdout, stderr }).finally(() => stderr.end());
  ended.catch((error: Error) => stdout.destroy(error));
  try {
    await taken(stdout);
    await endWell(name, command, await ended, said);
  } catch (error) {
    signal.throwIfAborted();
    // The command knows better why its output is not whole.
    if (error instanceof NoBackup) await endWell(name, command, await ended, said);
    throw error;
  } finally {
    stdout.destroy();
    signal.removeEventListener("abort", stop);
  }
}

/** A command of a script that takes a stream, while that is written. */
export interface Taker {
  /** The command has ended well. Throws a UserError with what it complained of. */
  ended: Promise<void>;
  /** Ends the connection where the command has not ended. */
  leave(): void;
}

/** Runs a script's command with this input. What comes is taken as fast as the pod's disk takes it. */
export function writeTo(
  { kube, pod, container }: Place,
  name: ScriptName,
  command: string,
  input: Readable,
  signal: AbortSignal,
): Taker {
  const [stdin, stderr] = [new PassThrough({ highWaterMark: 2 ** 20 }), new PassThrough()];
  const stdout = new PassThrough().resume();
  const said = text(stderr);
  // Told by whoever writes.
  pipeline(input, stdin, { signal }).catch(() => stdout.destroy());
  const run = async () => {
    const streams = { stdin, stdout, stderr };
    const code = await kube.exec(pod, container, scriptCommand(name, command), streams).finally(() => stderr.end());
    await endWell(name, command, code, said);
  };
  const ended = run();
  // It ended before its input did: nobody takes the rest.
  ended.then(
    () => undefined,
    (error: Error) => input.destroy(error),
  );
  return { ended, leave: () => stdout.destroy() };
}

async function endWell(name: ScriptName, command: string, code: number, said: Promise<string>): Promise<void> {
  if (code !== 0) throw new UserError(complaint(name, await said) || `${name} ${command} ended with ${code}`);
}

/** Writes to a stream a line a second, which tells the other side that this program lives. Returns how to end that. */
export function beatInto(stdin: Writable): () => void {
  const timer = setInterval(() => stdin.write("beat\n"), 1000);
  return () => clearInterval(timer);
}
