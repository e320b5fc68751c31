import type { Client } from "./client.ts";
import type { Outcome } from "./client-process.ts";
import type { Blob } from "./docker-client.ts";
import { median } from "./statistics.ts";
import type { System } from "./system.ts";

/** First part of the names of all repositories that the bench makes. */
export const REPOSITORIES = "homecloud-bench";

/** What a measure works with. */
export interface Tools {
  client: Client;
  largeLayer: Blob;
}

/** One thing that is timed. */
export interface Measure {
  /** As `--measures` takes it. */
  id: string;
  /** As it stands in the table. */
  title: string;
  /** Whether this system can do it. Defaults to all of them. */
  appliesTo?(system: System): boolean;
  /** Whether it is left out of the warm-up round. Defaults to false. */
  isLong?: boolean;
  /** Not timed; runs right before. Defaults to a login, as `docker login` or a push of a minute ago. */
  prepare?(system: System, tools: Tools): Promise<void>;
  run(system: System, tools: Tools): Promise<Outcome>;
}

/** A single push or pull takes milliseconds: it is repeated one by one, and the median counts. */
const REPEATS = 5;

const LARGE = `${REPOSITORIES}/large`;

export const MEASURES: Measure[] = [
  {
    id: "push",
    title: "one push, small image",
    run: (system, tools) => oneByOne(() => pushes(1, system, tools)),
  },
  {
    id: "pull",
    title: "one pull, small image",
    prepare: async ({ target }, { client }) => {
      await client.run({ target, work: "push", repositories: [`${REPOSITORIES}/small`], tag: "pull" });
    },
    run: ({ target }, { client }) =>
      oneByOne(() => client.run({ target, work: "pull", repositories: [`${REPOSITORIES}/small`], tag: "pull" })),
  },
  { id: "push-10", title: "10 pushes at once", run: (system, tools) => pushes(10, system, tools) },
  { id: "push-100", title: "100 pushes at once", isLong: true, run: (system, tools) => pushes(100, system, tools) },
  {
    id: "push-100-cold",
    title: "100 pushes at once, no login remembered",
    isLong: true,
    appliesTo: ({ forgetLogins }) => forgetLogins !== undefined,
    prepare: async ({ forgetLogins }) => forgetLogins?.(),
    run: (system, tools) => pushes(100, system, tools),
  },
  {
    id: "push-500mb",
    title: "push of a 500 MB layer",
    prepare: async (system, tools) => {
      await system.wipe();
      await login(system, tools);
    },
    run: ({ target }, { client, largeLayer }) =>
      client.run({ target, work: "push", repositories: [LARGE], tag: "latest", layer: largeLayer }),
  },
  {
    id: "pull-500mb",
    title: "pull of a 500 MB layer",
    // The measure before it, the push, left the layer.
    run: ({ target }, { client }) => client.run({ target, work: "pull", repositories: [LARGE], tag: "latest" }),
  },
];

/** Lets a registry that remembers logins do so. */
export async function login({ target }: System, { client }: Tools): Promise<void> {
  await client.run({ target, work: "login", repositories: [""], tag: "" });
}

/** Every client pushes to a repository of its own, as the projects of a CI do. */
function pushes(count: number, { target }: System, { client }: Tools): Promise<Outcome> {
  const repositories = Array.from({ length: count }, (_, index) => `${REPOSITORIES}/small-${index}`);
  return client.run({ target, work: "push", repositories, tag: `run-${Date.now()}` });
}

async function oneByOne(run: () => Promise<Outcome>): Promise<Outcome> {
  const outcomes: Outcome[] = [];
  for (let repeat = 0; repeat < REPEATS; repeat++) outcomes.push(await run());
  const each = outcomes.flatMap((outcome) => outcome.each);
  return { seconds: median(each), each, cpuSeconds: median(outcomes.map(({ cpuSeconds }) => cpuSeconds)) };
}
