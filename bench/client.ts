import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import type { Job, Outcome, Reply } from "./client-process.ts";

/** Longer than the slowest measure takes: 100 pushes with bcrypt at each request, on half a core. */
const LONGEST_JOB = 8 * 60_000;

/** The process that pushes and pulls, apart from the one that watches and reports. */
export class Client {
  private readonly child: ChildProcess;

  constructor() {
    this.child = fork(new URL("client-process.ts", import.meta.url));
  }

  /** Throws where a client got another answer than it should, or the job takes too long. */
  async run(job: Job): Promise<Outcome> {
    const over = new AbortController();
    const limit = AbortSignal.any([over.signal, AbortSignal.timeout(LONGEST_JOB)]);
    this.child.send(job);
    try {
      const reply = await Promise.race([
        once(this.child, "message", { signal: limit }).then(([message]) => message as Reply),
        once(this.child, "exit", { signal: limit }).then((): Reply => ({ error: "the client process has ended" })),
      ]);
      if ("error" in reply) throw new Error(`${job.work} at ${job.target.url}: ${reply.error}`);
      return reply.outcome;
    } finally {
      over.abort();
    }
  }

  /** Ends it, whatever it is doing. */
  end(): void {
    this.child.kill("SIGKILL");
  }
}
