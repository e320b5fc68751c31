import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { selectorOf } from "../components/labels.ts";
import { POD_LAYOUT } from "../components/localstack/layout.ts";
import { PROJECT } from "../config/project.ts";
import { runCommand } from "../lab/command.ts";
import { applyStack } from "../lab/deploy/with-render.ts";
import { startLab } from "../lab/lab.ts";
import { type Kubectl, kubectlOn } from "./kubectl.ts";
import { readMemoryUse } from "./memory-use.ts";
import { median } from "./statistics.ts";

/**
 * `npm run bench:localstack`: how long LocalStack takes to start, what memory it needs, and what the gate costs S3: the same
 * requests to the gate and to LocalStack itself, one after the other. Plain HTTP on both sides, so that only the gate
 * differs. A stack of the bench's own on the lab, removed at the end.
 */
const USAGE = "npm run bench:localstack -- [--runs 5] [--megabytes 256]";

const { values } = parseArgs({
  options: { runs: { type: "string", default: "5" }, megabytes: { type: "string", default: "256" } },
});
const runs = Number(values.runs);
const megabytes = Number(values.megabytes);
if (![runs, megabytes].every((number) => Number.isInteger(number) && number > 0)) {
  console.error(USAGE);
  process.exit(2);
}

const NAMESPACES = { registry: "registry-bench-aws", localstack: "localstack-bench" };
const SELECTOR = Object.entries(selectorOf("localstack"))
  .map(([key, value]) => `${key}=${value}`)
  .join(",");
const BUCKET = "bench";
const SMALL_OBJECTS = 200;
/** What the issue asks for. */
const AIMS = { startSeconds: 30, gateCost: 1.1 };

const CONFIG = {
  access: { mode: "node-port", port: 30690, hosts: ["127.0.0.1"] },
  tls: { mode: "none" },
  clusterNames: "none",
  registryUi: { enabled: false },
  registry: {
    namespace: NAMESPACES.registry,
    storage: "64Mi",
    reserve: "1Mi",
    keepFree: "64Mi",
    localRegistryHosting: false,
  },
  localstack: {
    edition: "ephemeral",
    namespace: NAMESPACES.localstack,
    port: 30691,
    storage: `${megabytes * 6 + 1024}Mi`,
    reserve: "1Mi",
    keepFree: "64Mi",
    lambda: { mode: "none" },
  },
};

interface PodJson {
  status: {
    podIP: string;
    conditions: { type: string; status: string; lastTransitionTime: string }[];
    containerStatuses: { name: string; state: { running?: { startedAt: string } } }[];
  };
}

/** One request without a login, its body read to the end; milliseconds. */
function ask(base: string, method: string, path: string, body?: Buffer, headers = {}): Promise<number> {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const asked = request(`${base}${path}`, { method, headers: { ...headers, "content-length": body?.length ?? 0 } });
    asked.once("error", reject);
    asked.once("response", (response) => {
      response.resume();
      response.once("end", () => {
        if ((response.statusCode ?? 500) >= 300) reject(new Error(`${method} ${path}: ${response.statusCode}`));
        else resolve(performance.now() - began);
      });
      response.once("error", reject);
    });
    asked.end(body);
  });
}

async function pod(kubectl: Kubectl): Promise<PodJson> {
  await kubectl(["-n", NAMESPACES.localstack, "rollout", "status", "deployment/localstack", "--timeout=300s"]);
  const text = await kubectl(["-n", NAMESPACES.localstack, "get", "pods", "-l", SELECTOR, "-o", "json"]);
  const [found] = (JSON.parse(text) as { items: PodJson[] }).items;
  if (!found) throw new Error("there is no pod of LocalStack's");
  return found;
}

/** From the start of LocalStack's process to the moment at which clients are let in, in seconds (the API's own unit). */
function startOf({ status }: PodJson): number {
  const ready = status.conditions.find(({ type, status }) => type === "Ready" && status === "True");
  const running = status.containerStatuses.find(({ name }) => name === "localstack")?.state.running;
  return (Date.parse(ready?.lastTransitionTime ?? "") - Date.parse(running?.startedAt ?? "")) / 1000;
}

const large = Buffer.alloc(megabytes * 1024 * 1024, "homecloud ");
const small = Buffer.alloc(1024, "x");

/** What is timed, by name; milliseconds. */
const MEASURES: Record<string, (base: string) => Promise<number>> = {
  [`PUT of ${megabytes} MiB`]: (base) => ask(base, "PUT", `/${BUCKET}/large`, large),
  [`GET of ${megabytes} MiB`]: (base) => ask(base, "GET", `/${BUCKET}/large`),
  [`${SMALL_OBJECTS} PUTs of 1 KiB, one by one`]: async (base) => {
    let total = 0;
    for (let index = 0; index < SMALL_OBJECTS; index++)
      total += await ask(base, "PUT", `/${BUCKET}/small-${index}`, small);
    return total;
  },
  [`${SMALL_OBJECTS} GETs of 1 KiB, one by one`]: async (base) => {
    let total = 0;
    for (let index = 0; index < SMALL_OBJECTS; index++) total += await ask(base, "GET", `/${BUCKET}/small-${index}`);
    return total;
  },
};

/** Tables, queues and topics in use: what memory is then needed. */
async function load(base: string): Promise<void> {
  const json = (target: string, body: object) =>
    ask(base, "POST", "/", Buffer.from(JSON.stringify(body)), {
      "x-amz-target": target,
      "content-type": "application/x-amz-json-1.0",
    });
  const key = { AttributeName: "id", KeyType: "HASH" };
  const AttributeDefinitions = [{ AttributeName: "id", AttributeType: "S" }];
  const table = { TableName: "bench", KeySchema: [key], AttributeDefinitions, BillingMode: "PAY_PER_REQUEST" };
  await json("DynamoDB_20120810.CreateTable", table);
  await json("AmazonSQS.CreateQueue", { QueueName: "bench" });
  for (let index = 0; index < 500; index++) {
    const Item = { id: { S: String(index) }, text: { S: small.toString() } };
    await Promise.all([
      json("DynamoDB_20120810.PutItem", { TableName: "bench", Item }),
      json("AmazonSQS.SendMessage", {
        QueueUrl: `${base}/queue/us-east-1/000000000000/bench`,
        MessageBody: "x".repeat(1024),
      }),
      ask(base, "PUT", `/${BUCKET}/load-${index}`, small),
    ]);
  }
}

const row = (...cells: string[]) => `| ${cells.join(" | ")} |`;
const range = (times: number[]) =>
  `**${(median(times) / 1000).toFixed(2)} s** (${(Math.min(...times) / 1000).toFixed(2)} to ${(Math.max(...times) / 1000).toFixed(2)})`;
const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

await runCommand(async () => {
  const lab = await startLab();
  const kubectl = kubectlOn(lab);
  const folder = await mkdtemp(join(tmpdir(), "homecloud-bench-"));
  const keys = Object.entries(CONFIG).map(([key, value]) => [
    `${PROJECT}:${key}`,
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
  const raw = { project: PROJECT, stack: "bench-aws", secretKeys: [], values: Object.fromEntries(keys) };
  try {
    await applyStack(lab, raw, join(folder, "generated.json"));
    const starts: number[] = [];
    for (let run = 0; run < Math.min(runs, 3); run++) {
      await kubectl(["-n", NAMESPACES.localstack, "delete", "pod", "-l", SELECTOR, "--timeout=120s"]);
      starts.push(startOf(await pod(kubectl)));
    }
    const { podIP } = (await pod(kubectl)).status;
    const gate = `http://${podIP}:${POD_LAYOUT.gatePort}`;
    const direct = `http://${podIP}:${POD_LAYOUT.localstackPort}`;
    await sleep(10_000);
    const atRest = await readMemoryUse(kubectl, NAMESPACES.localstack, SELECTOR);

    await ask(gate, "PUT", `/${BUCKET}`);
    const times = new Map<string, { gate: number[]; direct: number[] }>();
    // One after the other in an order that turns; the first round warms up and does not count.
    for (let round = 0; round <= runs; round++) {
      for (const [name, measure] of Object.entries(MEASURES)) {
        const seen = times.get(name) ?? { gate: [], direct: [] };
        for (const side of round % 2 ? (["gate", "direct"] as const) : (["direct", "gate"] as const)) {
          const took = await measure(side === "gate" ? gate : direct);
          if (round > 0) seen[side].push(took);
        }
        times.set(name, seen);
      }
    }
    await load(gate);
    const underLoad = await readMemoryUse(kubectl, NAMESPACES.localstack, SELECTOR);

    const [model] = cpus();
    console.log(
      `\n${new Date().toISOString()}, ${cpus().length} cores (${model?.model}), load ${loadavg()[0]?.toFixed(1)}\n`,
    );
    console.log(row("", "through the gate", "LocalStack itself", "gate costs"));
    console.log(row("---", "---", "---", "---"));
    const verdicts: string[] = [];
    for (const [name, seen] of times) {
      const cost = median(seen.gate) / median(seen.direct);
      console.log(row(name, range(seen.gate), range(seen.direct), `${((cost - 1) * 100).toFixed(0)} %`));
      verdicts.push(
        `- ${cost <= AIMS.gateCost ? "pass" : "FAIL"}  ${name}: ${cost.toFixed(2)} times the time of LocalStack itself (at most ${AIMS.gateCost})`,
      );
    }
    console.log(`\n${row("memory", ...Object.keys(atRest))}\n${row("---", ...Object.keys(atRest).map(() => "---"))}`);
    console.log(row("at rest", ...Object.values(atRest).map(mib)));
    console.log(row("after the load", ...Object.keys(atRest).map((name) => mib(underLoad[name] ?? 0))));
    const start = median(starts);
    console.log(`\nstart to ready: ${starts.join(" s, ")} s\n`);
    verdicts.push(
      `- ${start < AIMS.startSeconds ? "pass" : "FAIL"}  start to ready: ${start} s (under ${AIMS.startSeconds})`,
    );
    console.log(verdicts.join("\n"));
  } finally {
    for (const namespace of Object.values(NAMESPACES))
      await kubectl(["delete", "namespace", namespace, "--ignore-not-found", "--timeout=180s"]);
    await rm(folder, { recursive: true, force: true });
  }
});
