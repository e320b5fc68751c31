import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildFunctionImages } from "../../lab/images/import.ts";
import { describeWith } from "../optional.ts";
import { kubectl, until } from "./cluster.ts";
import {
  deployLocalStack,
  localstackPod,
  metricsPage,
  removeLocalStack,
  resolvesInPods,
  type TestLocalStack,
} from "./localstack.ts";

const PROGRAMS = join(import.meta.dirname, "aws");

/** A LocalStack whose functions run in the pod's own Docker, from a folder of image archives: there is no registry. */
class Functions {
  readonly stack: TestLocalStack;
  /** As LocalStack returned it to a laptop. */
  readonly queueUrl: string;

  private constructor(stack: TestLocalStack, queueUrl: string) {
    this.stack = stack;
    this.queueUrl = queueUrl;
  }

  static async deploy(name: string, port: number, settings: object = {}): Promise<Functions> {
    const imagesFolder = await buildFunctionImages(() => {});
    const lambda = { mode: "dind", imageStorage: "768Mi", imagesFolder };
    const stack = await deployLocalStack(name, port, { storage: "2Gi", lambda, ...settings });
    const [, queue] = await stack.laptop.call([
      ["s3", "CreateBucket", { Bucket: "functions" }],
      ["sqs", "CreateQueue", { QueueName: "functions" }],
    ]);
    await resolvesInPods(stack);
    return new Functions(stack, String(queue?.answer?.QueueUrl));
  }

  /** Calls the function `hello`, which is made first where its code is given. Returns how it ended, and with what. */
  invoke(event: object, zip = ""): Promise<string> {
    return this.stack.laptop.program("function", ["hello", zip, JSON.stringify(event)]);
  }

  /** What the function does for whoever calls it: an object and a message. */
  get work() {
    return { bucket: "functions", queueUrl: this.queueUrl };
  }

  /** Lets messages of a new queue call the function. Returns the queue's URL. */
  async listen(): Promise<string> {
    const arn = "arn:aws:sqs:us-east-1:000000000000:jobs";
    const [jobs, mapping] = await this.stack.laptop.call([
      ["sqs", "CreateQueue", { QueueName: "jobs" }],
      ["lambda", "CreateEventSourceMapping", { FunctionName: "hello", EventSourceArn: arn, BatchSize: 1 }],
    ]);
    expect(mapping?.error).toBeUndefined();
    return String(jobs?.answer?.QueueUrl);
  }

  /** Sends a message with work, and waits until the function has done it. */
  async worksOn(jobs: string): Promise<void> {
    const written = { Bucket: "functions", Key: "from-the-function" };
    const { laptop } = this.stack;
    await laptop.call([
      ["s3", "DeleteObject", written],
      ["sqs", "SendMessage", { QueueUrl: jobs, MessageBody: JSON.stringify(this.work) }],
    ]);
    const done = async () => (await laptop.call([["s3", "HeadObject", written]]))[0]?.error === undefined;
    await until(done, 60, "the message called the function");
  }
}

let archive: string;

beforeAll(async () => {
  archive = join(await mkdtemp(join(tmpdir(), "homecloud-function-")), "function.zip");
  await execa("python3", ["-m", "zipfile", "-c", archive, "index.mjs"], { cwd: join(PROGRAMS, "function") });
});

describe("Lambda in a Docker of the pod's own", () => {
  let functions: Functions;
  let stack: TestLocalStack;

  const restartsOf = (status: { restartCount: number; name: string }[], name: string) =>
    status.find((container) => container.name === name)?.restartCount;

  beforeAll(async () => {
    functions = await Functions.deploy("lambda", 30650);
    stack = functions.stack;
  });
  afterAll(() => removeLocalStack(stack));

  test("Docker was there before LocalStack, and only it is privileged", async () => {
    const pod = JSON.parse(await kubectl("-n", stack.namespace, "get", "pods", "-o", "json")) as {
      items: { status: Record<"initContainerStatuses" | "containerStatuses", Status[]> }[];
    };
    const status = pod.items[0]?.status;
    const startOf = (list: Status[] | undefined, name: string) =>
      Date.parse(list?.find((container) => container.name === name)?.state.running?.startedAt ?? "");

    expect(startOf(status?.initContainerStatuses, "docker")).toBeLessThanOrEqual(
      startOf(status?.containerStatuses, "localstack"),
    );
  });

  test("a function is made and called; it reaches S3 as LocalStack tells it, and a queue by its URL as it was returned", async () => {
    const begun = performance.now();
    const answer = await functions.invoke(functions.work, archive);
    console.log(`made, started and called in ${((performance.now() - begun) / 1000).toFixed(1)} s: ${answer}`);

    expect(JSON.parse(answer.replace("answered: ", ""))).toMatchObject({ object: 200, message: 200, stage: "home" });
    const [object, message] = await stack.laptop.call([
      ["s3", "HeadObject", { Bucket: "functions", Key: "from-the-function" }],
      ["sqs", "ReceiveMessage", { QueueUrl: functions.queueUrl, WaitTimeSeconds: 5 }],
    ]);
    expect(object?.answer).toMatchObject({ ContentLength: 5 });
    expect(message?.answer?.Messages).toMatchObject([{ Body: "hello from the function" }]);
  });

  test("what a function throws is its caller's to know", async () => {
    expect(await functions.invoke({ fail: true })).toMatch(/^Unhandled: .*RangeError.*as it was asked to/);
  });

  test("messages of a queue call it", async () => {
    await functions.worksOn(await functions.listen());
  });

  test("the images it needs are counted, below their cap", async () => {
    const metrics = await metricsPage(stack.namespace, "/metrics");
    const value = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, "m").exec(metrics)?.[1]);

    expect(value("homecloud_localstack_lambda_images_bytes")).toBeGreaterThan(50 * 2 ** 20);
    expect(value("homecloud_localstack_lambda_images_limit_bytes")).toBe(768 * 2 ** 20);
    expect(value("homecloud_localstack_used_bytes")).toBeGreaterThan(value("homecloud_localstack_lambda_images_bytes"));
  });

  test("a Docker that is killed comes back with its images, and functions run again", async () => {
    const exec = ["-n", stack.namespace, "exec", "deploy/localstack", "-c", "docker", "--"];
    // Ends the container, and with it perhaps this command before it is heard of.
    await kubectl(...exec, "sh", "-c", "kill -9 $(pidof dockerd)").catch(() => undefined);
    const restarted = async () => {
      const { status } = (await localstackPod(stack.namespace)) as unknown as {
        status: { initContainerStatuses: Restarts[] };
      };
      return (restartsOf(status.initContainerStatuses, "docker") ?? 0) > 0;
    };
    await until(restarted, 60, "Docker was started again");
    await until(async () => (await functions.invoke(functions.work)).startsWith("answered"), 120, "it runs again");
  });
});

describeWith("localstack-persist", "functions in the edition that keeps its data", () => {
  let functions: Functions;

  beforeAll(async () => {
    functions = await Functions.deploy("functions", 30660, { edition: "community" });
  });
  afterAll(() => removeLocalStack(functions?.stack));

  test("a queue calls its function after a restart, before anybody else does", async () => {
    const { stack } = functions;
    await functions.invoke(functions.work, archive);
    const jobs = await functions.listen();
    await functions.worksOn(jobs);
    const { metadata } = await localstackPod(stack.namespace);
    await kubectl("-n", stack.namespace, "delete", "pod", metadata.name);
    await kubectl("-n", stack.namespace, "rollout", "status", "deploy/localstack", "--timeout=120s");
    await functions.worksOn(jobs);
  });
});

interface Status {
  name: string;
  state: { running?: { startedAt: string } };
}

interface Restarts {
  name: string;
  restartCount: number;
}
