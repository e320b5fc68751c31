import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CA_FOLDER, CA_VARIABLES } from "../../components/ca-environment.ts";
import { DEFAULT_IMAGES } from "../../components/images.ts";
import { AWS_IMAGE, importAwsImage } from "./aws-image.ts";
import { apply, kubectl, removeNamespaces, until } from "./cluster.ts";
import {
  deployLocalStack,
  killContainer,
  localstackPod,
  metricsPage,
  removeLocalStack,
  resolvesInPods,
  type TestLocalStack,
} from "./localstack.ts";

/** Namespace of the pods that use LocalStack. */
const APPS = "e2e-aws";
const NAMESPACE = "localstack-pods";
const PORT = 30730;
/** On the volume, so that it outlives LocalStack's container. */
const DIARY = "/var/lib/localstack/init-scripts.txt";

/** As people write them: with what LocalStack's image has. */
const SCRIPTS = {
  "10-bucket.sh": `#!/bin/bash
set -e
awslocal s3 mb s3://reports-archive
sleep 5
echo "10-bucket.sh $(date +%s)" >>${DIARY}
`,
  "20-queue.py": `import boto3, time
sqs = boto3.client("sqs", aws_access_key_id="test", aws_secret_access_key="test")
sqs.create_queue(QueueName="invoices")
with open("${DIARY}", "a") as diary:
    diary.write(f"20-queue.py {int(time.time())}\\n")
`,
};

const folders: string[] = [];
let stack: TestLocalStack;

const settings = async (scripts: Record<string, string>) => ({
  clientNamespaces: [APPS],
  initScripts: await scriptsFolder(scripts),
});

beforeAll(async () => {
  await apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: APPS } });
  const [deployed] = await Promise.all([deployLocalStack("pods", PORT, await settings(SCRIPTS)), importAwsImage()]);
  stack = deployed;
});
afterAll(async () => {
  await removeLocalStack(stack);
  await removeNamespaces(APPS);
  for (const folder of folders) await rm(folder, { recursive: true });
});

describe("init scripts", () => {
  test("run once each, in the order of their names, before the pod is ready", async () => {
    const diary = await diaryLines();
    expect(diary.map(({ script }) => script)).toEqual(["10-bucket.sh", "20-queue.py"]);
    const { status } = await localstackPod(NAMESPACE);
    const ready = status.conditions.find(({ type }) => type === "Ready");
    expect(ready?.status).toBe("True");
    expect(Date.parse(ready?.lastTransitionTime ?? "") / 1000).toBeGreaterThanOrEqual(diary[1]?.at ?? Number.NaN);
  });

  test("while one runs, the pod's events name it", async () => {
    expect(await describePod()).toContain("the init script /etc/localstack/init/ready.d/10-bucket.sh is running");
  });

  test("what they made is there", async () => {
    const { laptop } = stack;
    const outcomes = await laptop.call([
      ["s3", "HeadBucket", { Bucket: "reports-archive" }],
      ["sqs", "GetQueueUrl", { QueueName: "invoices" }],
    ]);
    expect(outcomes).toMatchObject([{ answer: {} }, { answer: { QueueUrl: expect.stringContaining("/invoices") } }]);
  });
});

describe("pods in a namespace that asked for the settings", () => {
  beforeAll(() => resolvesInPods(stack));

  test("the example runs as it is", async () => {
    expect(await runPod("example", { image: AWS_IMAGE })).toBe("today.txt: all is well");
  });

  test("a queue's URL from outside is good inside, as it was returned", async () => {
    const url = (await stack.laptop.program("queue", ["from-outside"])).split("\n")[0] ?? "";
    await stack.laptop.call([["sqs", "SendMessage", { QueueUrl: url, MessageBody: "hello from the laptop" }]]);
    const printed = await runPod("queue-url", { image: AWS_IMAGE, args: ["aws/queue-url.ts", url] });
    expect(printed).toBe("hello from the laptop");
  });

  test("today's AWS CLI needs the variables only, but for SQS, which its version 1 would ask of Amazon", async () => {
    const script = `set -e
      aws s3 mb s3://from-a-pod
      echo hello | aws s3 cp - s3://from-a-pod/greeting.txt
      aws s3 cp s3://from-a-pod/greeting.txt -
      aws sns create-topic --name from-a-pod --output text
      aws sqs create-queue --queue-name from-a-pod --output text --endpoint-url $AWS_ENDPOINT_URL`;
    const printed = await runPod("cli", { image: DEFAULT_IMAGES.localstack, command: ["bash", "-c", script] });
    expect(printed.split("\n")).toEqual([
      "make_bucket: from-a-pod",
      "hello",
      "arn:aws:sns:us-east-1:000000000000:from-a-pod",
      `https://pods.aws.test:${PORT}/queue/us-east-1/000000000000/from-a-pod`,
    ]);
  });
});

describe("metrics", () => {
  test("are Prometheus' text, and count what was done", async () => {
    const before = samples(await metricsPage(NAMESPACE, "/metrics"));
    const count = (all: Map<string, number>, name: string) => all.get(`homecloud_localstack_${name}`) ?? Number.NaN;
    expect(count(before, "limit_bytes")).toBe(512 * 2 ** 20);
    expect(count(before, "used_bytes")).toBeGreaterThan(0);
    expect(count(before, "used_bytes")).toBeLessThan(512 * 2 ** 20);
    expect(count(before, "healthy")).toBe(1);
    for (const service of ["s3", "sqs", "sns", "dynamodb", "lambda"])
      expect(count(before, `service_state{service="${service}",state="running"}`), service).toBe(1);
    expect(count(before, 'init_scripts{state="successful"}')).toBe(2);

    await stack.laptop.program("bucket", ["counted"]);
    await stack.laptop.call([["s3", "GetObjectTorrent", { Bucket: "counted", Key: "x" }]]);
    await sleep(2500);
    const after = samples(await metricsPage(NAMESPACE, "/metrics"));
    const more = (name: string) => count(after, name) - count(before, name);
    expect(more('service_requests_total{service="s3"}')).toBe(5);
    expect(more('service_requests_total{service="sqs"}')).toBe(0);
    expect(more('service_errors_total{service="s3"}')).toBe(1);
    expect(more('requests_total{class="2xx"}')).toBe(4);
    expect(more('requests_total{class="5xx"}')).toBe(1);
  });

  test("are on no port that clients reach", async () => {
    const { AWS_ENDPOINT_URL: url = "", AWS_CA_BUNDLE: ca = "" } = stack.laptop.env;
    const { stdout } = await stack.laptop.run("curl", ["--silent", "--cacert", ca, `${url}/metrics`]);
    expect(stdout).not.toContain("homecloud_localstack_");
  });

  test("health names the services and the scripts", async () => {
    const health = JSON.parse(await metricsPage(NAMESPACE, "/healthz"));
    expect(health).toMatchObject({
      status: "pass",
      services: { s3: "running", sqs: "running", sns: "running", dynamodb: "running", lambda: "running" },
      init: [
        { name: "10-bucket.sh", state: "SUCCESSFUL" },
        { name: "20-queue.py", state: "SUCCESSFUL" },
      ],
    });
  });
});

test("killed and started again, LocalStack runs its init scripts again, once each", async () => {
  await killContainer(NAMESPACE, "localstack");
  await until(async () => (await diaryLines()).length === 4 && (await isReady()), 90, "both ran and the pod is ready");
  const scripts = (await diaryLines()).map(({ script }) => script);
  expect(scripts).toEqual(["10-bucket.sh", "20-queue.py", "10-bucket.sh", "20-queue.py"]);
});

test("a failing init script keeps the pod unready, and the pod says which", async () => {
  const failing = { "10-fails.sh": "#!/bin/bash\nawslocal s3 mb s3://before-it-fails\necho gone wrong >&2\nexit 3\n" };
  await deployLocalStack("pods", PORT, await settings(failing), { wait: false });
  const reason =
    "the init script /etc/localstack/init/ready.d/10-fails.sh failed: see kubectl -n localstack-pods logs deploy/localstack -c localstack";
  await until(async () => (await describePod()).includes(reason), 120, `the pod says: ${reason}`);
  await sleep(5000);
  expect(await isReady()).toBe(false);
  const logs = await kubectl("-n", NAMESPACE, "logs", "deploy/localstack", "-c", "localstack");
  expect(logs).toContain("gone wrong");
});

async function scriptsFolder(scripts: Record<string, string>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "localstack-init-"));
  folders.push(folder);
  for (const [name, content] of Object.entries(scripts)) await writeFile(join(folder, name), content);
  return folder;
}

/** What the scripts have noted: which ran, and when it ended. */
async function diaryLines(): Promise<{ script: string | undefined; at: number }[]> {
  const diary = await kubectl("-n", NAMESPACE, "exec", "deploy/localstack", "-c", "localstack", "--", "cat", DIARY);
  return diary.split("\n").map((line) => ({ script: line.split(" ")[0], at: Number(line.split(" ")[1]) }));
}

async function isReady(): Promise<boolean> {
  const { status } = await localstackPod(NAMESPACE);
  return status.conditions.find(({ type }) => type === "Ready")?.status === "True";
}

async function describePod(): Promise<string> {
  const { metadata } = await localstackPod(NAMESPACE);
  return kubectl("-n", NAMESPACE, "describe", "pod", metadata.name);
}

/** Runs a pod with the settings and the CA as their ConfigMaps have them; returns what it printed. */
async function runPod(
  name: string,
  container: { image: string; command?: string[]; args?: string[] },
): Promise<string> {
  await apply({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: APPS },
    spec: {
      restartPolicy: "Never",
      automountServiceAccountToken: false,
      containers: [
        {
          name,
          ...container,
          imagePullPolicy: "Never",
          envFrom: [{ configMapRef: { name: "localstack-aws" } }],
          env: Object.entries(CA_VARIABLES).map(([variable, value]) => ({ name: variable, value })),
          volumeMounts: [{ name: "ca", mountPath: CA_FOLDER, readOnly: true }],
        },
      ],
      volumes: [{ name: "ca", configMap: { name: "homecloud-ca" } }],
    },
  });
  const phase = () => kubectl("-n", APPS, "get", "pod", name, "-o", "jsonpath={.status.phase}");
  await until(async () => ["Succeeded", "Failed"].includes(await phase()), 90, `the pod ${name} has ended`);
  const printed = await kubectl("-n", APPS, "logs", name);
  expect(await phase(), printed).toBe("Succeeded");
  return printed;
}

/** Every sample of a page in Prometheus' text form, by name and labels. Throws at what is none. */
function samples(page: string): Map<string, number> {
  const found = new Map<string, number>();
  let family = "";
  for (const line of page.trim().split("\n")) {
    const described = /^# (HELP|TYPE) (\w+) (.+)$/.exec(line);
    if (described) {
      const [, word, name = "", rest = ""] = described;
      if (word === "TYPE" && (name !== family || !/^(counter|gauge)$/.test(rest))) throw new Error(line);
      family = name;
      continue;
    }
    const [, sample = "", name, value] = /^((\w+)(?:\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})?) (\S+)$/.exec(line) ?? [];
    if (!sample || name !== family || Number.isNaN(Number(value)) || found.has(sample)) throw new Error(line);
    found.set(sample, Number(value));
  }
  return found;
}
