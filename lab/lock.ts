import { createServer, type Server } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { LabError } from "./error.ts";
import { sha256 } from "./files.ts";

const PATIENCE_MS = 30 * 60_000;

/**
 * Runs `work` while no other process works on `resource`. The lock is an abstract socket's name: the kernel gives it
 * to one process at a time and takes it back when that process ends, however it ends.
 */
export async function withLock<T>(
  resource: string,
  report: (line: string) => void,
  work: () => Promise<T>,
): Promise<T> {
  const server = await waitForName(`\0homecloud-lab-${sha256(resource).slice(0, 16)}`, resource, report);
  try {
    return await work();
  } finally {
    server.close();
  }
}

async function waitForName(name: string, resource: string, report: (line: string) => void): Promise<Server> {
  const deadline = Date.now() + PATIENCE_MS;
  for (let attempt = 0; Date.now() < deadline; attempt++) {
    const server = await takeName(name);
    if (server) return server;
    if (attempt === 0) report(`waiting for another process that works on ${resource}`);
    await sleep(500);
  }
  throw new LabError(`another process has been working on ${resource} for half an hour: end it, then try again`);
}

function takeName(name: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => connection.destroy());
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(name, () => resolve(server.unref()));
  });
}
