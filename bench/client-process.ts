import { performance } from "node:perf_hooks";
import { type Blob, DockerClient, newImage, type Target } from "./docker-client.ts";

/** What the client process is asked to do, once or with many clients at the same time. */
export interface Job {
  target: Target;
  work: "login" | "push" | "pull";
  /** One client each, all at the same time. */
  repositories: string[];
  tag: string;
  /** Layer to push; a random one of 1 KiB unless given. */
  layer?: Blob;
}

/** What it took. */
export interface Outcome {
  /** From the first connection to the end of the last client. */
  seconds: number;
  /** Seconds of each client. */
  each: number[];
  /** Processor time of the client process. */
  cpuSeconds: number;
}

export type Reply = { outcome: Outcome } | { error: string };

/** The clients run in a process of their own, kept from job to job so that its code is compiled once. */
process.on("message", (job: Job) => {
  run(job).then(
    (outcome) => process.send?.({ outcome } satisfies Reply),
    (error: unknown) => process.send?.({ error: String(error) } satisfies Reply),
  );
});
process.on("disconnect", () => process.exit());

async function run({ target, work, repositories, tag, layer }: Job): Promise<Outcome> {
  // What is pushed is made before the clock starts.
  const tasks = repositories.map((repository) => {
    const image = work === "push" ? newImage(layer) : undefined;
    return (client: DockerClient) => {
      if (image) return client.push(repository, tag, image);
      return work === "pull" ? client.pull(repository, tag) : client.login();
    };
  });
  const cpu = process.cpuUsage();
  const start = performance.now();
  const each = await Promise.all(
    tasks.map(async (task) => {
      const client = new DockerClient(target);
      try {
        await task(client);
      } finally {
        client.close();
      }
      return secondsSince(start);
    }),
  );
  const seconds = secondsSince(start);
  const { user, system } = process.cpuUsage(cpu);
  return { seconds, each, cpuSeconds: (user + system) / 1e6 };
}

const secondsSince = (start: number) => (performance.now() - start) / 1000;
