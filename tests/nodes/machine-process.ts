import { spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { readIfThere } from "../../lab/files.ts";
import { parseStartTime } from "../../lab/processes.ts";
import type { Machine } from "./machine.ts";

/** A node's first process. */
export interface MachineProcess {
  /** As this machine numbers it. */
  pid: number;
  /** Ends the node: the kernel ends all its processes, and takes down mounts and network with the last of them. */
  end(): Promise<void>;
}

/**
 * Starts a node that lives as long as this process does, however that ends: the node holds the other end of a pipe of ours.
 * What its first process has to say goes to the file `logPath`.
 */
export async function startMachine(program: string, machine: Machine, logPath: string): Promise<MachineProcess> {
  const log = await open(logPath, "a", 0o600);
  const starter = spawn(program, ["start-machine"], { stdio: ["pipe", "pipe", log.fd, "pipe"] });
  const [input, output, , life] = starter.stdio as unknown as [Writable, Readable, null, Socket];
  life.unref();
  input.end(JSON.stringify(machine));
  const [answer] = await Promise.all([text(output), once(starter, "exit"), log.close()]);
  const pid = Number(answer);
  if (!pid) throw new Error(`the node ${machine.name} does not start: ${await readFile(logPath, "utf8")}`);
  return {
    pid,
    end: async () => {
      life.destroy();
      while (await runs(pid)) await sleep(10);
    },
  };
}

/** A zombie has ended, and everything in its namespaces before it. */
async function runs(pid: number): Promise<boolean> {
  const stat = await readIfThere(`/proc/${pid}/stat`);
  return stat !== undefined && parseStartTime(stat) !== undefined;
}
