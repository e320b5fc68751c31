import { execa } from "execa";
import { beforeAll, expect, inject, test } from "vitest";
import { parse } from "yaml";
import { clientTools } from "../tools.ts";
import { kubectl, lab, registryPod } from "./cluster.ts";

const { output, seconds: firstSeconds } = inject("start");

// The fourth command is for an AWS CLI of the person's own: Debian's.
beforeAll(clientTools);

test("npm start tells the addresses, the login, the CA file and four commands", () => {
  for (const line of [
    /address +https:\/\/127\.0\.0\.1:30500/,
    /AWS +https:\/\/127\.0\.0\.1:30566/,
    /login +homelab/,
    /password +\S{20,}/,
    /CA file +\S+ca\.crt/,
    /kubeconfig +\S+/,
  ]) {
    expect(output).toMatch(line);
  }
  expect(commands()).toHaveLength(4);
});

test("the four commands do what they say, typed as they are printed", async () => {
  const [push = "", list = "", run = "", bucket = ""] = commands();
  expect((await shell(push)).exitCode).toBe(0);
  expect(JSON.parse((await shell(list)).stdout)).toMatchObject({
    repositories: expect.arrayContaining(["hello/busybox"]),
  });
  const pod = await shell(run);
  expect(pod.stdout, pod.stderr).toContain("hello from your registry");
  const made = await shell(bucket);
  expect(made.stdout, made.stderr).toContain("make_bucket: hello");
});

test("a second npm start changes nothing and is sooner done than the first", async () => {
  const before = await everything();
  const pod = await registryPod("registry");
  const begun = performance.now();
  const { exitCode, all } = await execa("npm", ["start"], { all: true, reject: false });
  const seconds = (performance.now() - begun) / 1000;
  console.log(`first npm start: ${firstSeconds.toFixed(1)} s, second: ${seconds.toFixed(1)} s`);
  expect(exitCode, all).toBe(0);
  expect(seconds).toBeLessThan(firstSeconds);
  expect(await registryPod("registry")).toEqual(pod);
  expect(await everything()).toEqual(before);
  expect(all).toContain(/password +(\S+)/.exec(output)?.[1]);
});

test("npm start without root says in one sentence what to use instead", async () => {
  const { stderr, exitCode } = await execa("setpriv", ["--reuid=65534", "--clear-groups", "node", "lab/start.ts"], {
    reject: false,
  });
  expect(exitCode).toBe(1);
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect(stderr).toMatch(/root.*; or deploy to a cluster of your own: pulumi up -s homelab/);
});

interface Item {
  kind: string;
  metadata: { namespace: string; name: string; uid: string; generation?: number; resourceVersion: string };
}

/** The commands that are printed: the indented lines after "Four commands to try". */
function commands(): string[] {
  return (output.split("Four commands to try")[1] ?? "").split("\n").filter((line) => /^ {2}\S/.test(line));
}

function shell(command: string) {
  return execa("bash", ["-c", command], { reject: false, env: lab.env });
}

/** Generation of every object that `npm start` deployed: it rises with each change of what was asked for. */
async function everything(): Promise<Record<string, unknown>> {
  const kinds = "deployments,services,secrets,configmaps,networkpolicies,persistentvolumeclaims";
  const ours = ["-l", "app.kubernetes.io/part-of=homecloud", "-o", "yaml"];
  const lists = await Promise.all(
    ["registry", "localstack"].map((namespace) => kubectl("-n", namespace, "get", kinds, ...ours)),
  );
  const items = lists.flatMap((list) => (parse(list) as { items: Item[] }).items);
  const isSteady = (kind: string) => kind !== "Deployment" && kind !== "PersistentVolumeClaim";
  return Object.fromEntries(
    items.map(({ kind, metadata }) => [
      `${kind} ${metadata.namespace}/${metadata.name}`,
      [metadata.uid, metadata.generation, isSteady(kind) ? metadata.resourceVersion : ""],
    ]),
  );
}
