import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildFunctionImages } from "../../lab/images/import.ts";
import type { Outcome } from "./aws/call.ts";
import { kubectl, until } from "./cluster.ts";
import { deployLocalStack, localstackPod, metricsPage, removeLocalStack, type TestLocalStack } from "./localstack.ts";

const PROGRAMS = join(import.meta.dirname, "aws");

/** Functions in the pod's own Docker, which has the lab's Node runtime from a folder of archives: there is no registry. */
describe("Lambda in a Docker of the pod's own", () => {
  let stack: TestLocalStack;
  let archive: string;
  let queueUrl: string;

  const call = async (...calls: [string, string, object][]) =>
    JSON.parse(await stack.laptop.program("call", [JSON.stringify(calls)])) as Outcome[];
  const invoke = (event: object, zip = "") => stack.laptop.program("function", ["hello", zip, JSON.stringify(event)]);
  const restartsOf = (status: { restartCount: number; name: string }[], name: string) =>
    status.find((container) => container.name === name)?.restartCount;

  beforeAll(async () => {
    const imagesFolder = await buildFunctionImages(() => {});
    const lambda = { mode: "dind", imageStorage: "768Mi", imagesFolder };
    stack = await deployLocalStack("lambda", 30650, { storage: "2Gi", lambda });
    archive = join(await mkdtemp(join(tmpdir(), "homecloud-function-")), "function.zip");
    await execa("python3", ["-m", "zipfile", "-c", archive, "index.mjs"], { cwd: join(PROGRAMS, "function") });
    const [, queue] = await call(
      ["s3", "CreateBucket", { Bucket: "functions" }],
      ["sqs", "CreateQueue", { QueueName: "functions" }],
    );
    queueUrl = String(queue?.answer?.QueueUrl);
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
    const answer = await invoke({ bucket: "functions", queueUrl }, archive);
    console.log(`made, started and called in ${((performance.now() - begun) / 1000).toFixed(1)} s: ${answer}`);

    expect(JSON.parse(answer.replace("answered: ", ""))).toMatchObject({ object: 200, message: 200, stage: "home" });
    const [object, message] = await call(
      ["s3", "HeadObject", { Bucket: "functions", Key: "from-the-function" }],
      ["sqs", "ReceiveMessage", { QueueUrl: queueUrl, WaitTimeSeconds: 5 }],
    );
    expect(object?.answer).toMatchObject({ ContentLength: 5 });
    expect(message?.answer?.Messages).toMatchObject([{ Body: "hello from the function" }]);
  });

  test("what a function throws is its caller's to know", async () => {
    expect(await invoke({ fail: true })).toMatch(/^Unhandled: .*RangeError.*as it was asked to/);
  });

  test("messages of a queue call it", async () => {
    const arn = "arn:aws:sqs:us-east-1:000000000000:jobs";
    const [, mapping] = await call(
      ["sqs", "CreateQueue", { QueueName: "jobs" }],
      ["lambda", "CreateEventSourceMapping", { FunctionName: "hello", EventSourceArn: arn, BatchSize: 1 }],
    );
    expect(mapping?.error).toBeUndefined();
    await call(["s3", "DeleteObject", { Bucket: "functions", Key: "from-the-function" }]);
    const url = queueUrl.replace(/functions$/, "jobs");
    await call(["sqs", "SendMessage", { QueueUrl: url, MessageBody: "work" }]);
    // The event of a queue names no bucket: that the function ran is seen in the queue, which is emptied or tries again.
    await until(
      async () => {
        const [left] = await call(["sqs", "GetQueueAttributes", { QueueUrl: url, AttributeNames: ["All"] }]);
        const attributes = left?.answer?.Attributes as Record<string, string> | undefined;
        return attributes?.ApproximateNumberOfMessages === "0";
      },
      30,
      "the message was taken by the function",
    );
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
    await until(
      async () => (await invoke({ bucket: "functions", queueUrl })).startsWith("answered"),
      120,
      "it runs again",
    );
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
