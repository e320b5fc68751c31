import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Call } from "./aws/call.ts";
import { until } from "./cluster.ts";
import { type Laptop, programFile } from "./laptop.ts";
import {
  deployLocalStack,
  killContainer,
  removeLocalStack,
  resolvesInPods,
  type TestLocalStack,
} from "./localstack.ts";

const GIB = 2 ** 30;

/** curl over verified TLS: status and body. */
async function curl(laptop: Laptop, ...args: string[]): Promise<{ status: number; body: string }> {
  const { AWS_CA_BUNDLE: caFile = "" } = laptop.env;
  const { stdout } = await laptop.run("curl", [
    "--silent",
    "--cacert",
    caFile,
    "--write-out",
    "\n%{http_code}",
    ...args,
  ]);
  const end = stdout.lastIndexOf("\n");
  return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}

describe("programs of people, with nothing set but endpoint, region and credentials", () => {
  let stack: TestLocalStack;
  let laptop: Laptop;

  beforeAll(async () => {
    const begun = performance.now();
    stack = await deployLocalStack("sdk", 30710, { storage: "4Gi", reserve: "256Mi" });
    laptop = stack.laptop;
    console.log(`a stack with LocalStack was up after ${((performance.now() - begun) / 1000).toFixed(0)} s`);
    // As at home: LocalStack itself behaves in another way once its name has an address.
    await resolvesInPods(stack);
  });
  afterAll(() => removeLocalStack(stack));

  test("the variables are the program's own, and say nothing of a client's manners", () => {
    expect(stack.outputs.awsEnvironment).toEqual({
      AWS_ENDPOINT_URL: "https://sdk.aws.test:30710",
      AWS_ENDPOINT_URL_S3: "https://s3.sdk.aws.test:30710",
      AWS_REGION: "us-east-1",
      AWS_DEFAULT_REGION: "us-east-1",
      AWS_ACCESS_KEY_ID: "test",
      AWS_SECRET_ACCESS_KEY: "test",
    });
  });

  test("a bucket: what was put is listed, and comes back byte by byte", async () => {
    expect(await laptop.program("bucket", ["photos"])).toBe("photos/2026/cat.jpg 1000000; image/jpeg\nequal");
  });

  test("a queue: send, receive, delete, by the URL that it was made with", async () => {
    expect(await laptop.program("queue", ["orders"])).toBe(
      "https://sdk.aws.test:30710/queue/us-east-1/000000000000/orders\norder 17\nleft: 0,0",
    );
  });

  test("a topic: what is published comes to both queues", async () => {
    expect(await laptop.program("topic", ["paid"])).toBe(
      "paid-mail: orders: order 17 has been paid\npaid-audit: orders: order 17 has been paid",
    );
  });

  test("a table: put, get, query", async () => {
    expect(await laptop.program("table", ["orders"])).toBe("17: 12.5\nfrom 17 on: 12.5, 7");
  });

  test("S3 too at the one endpoint that a program has in its code", async () => {
    expect(await laptop.program("endpoint-in-code", ["https://sdk.aws.test:30710", "one-endpoint"])).toBe("hello");
  });

  describe("with Debian's AWS CLI", () => {
    /** Debian 12 has version 2.9, which knows AWS_ENDPOINT_URL not yet: it is told on the command line. */
    const aws = async (...args: string[]) => {
      const name = args[0]?.startsWith("s3") ? "AWS_ENDPOINT_URL_S3" : "AWS_ENDPOINT_URL";
      const { exitCode, stdout, stderr } = await laptop.aws("--endpoint-url", laptop.env[name] ?? "", ...args);
      expect(exitCode, stderr).toBe(0);
      return stdout;
    };

    test("a bucket, copies there and back, a presigned URL", async () => {
      const file = join(laptop.env.HOME ?? "", "letter.txt");
      await writeFile(file, "Dear Ada,\n".repeat(1_000_000));
      expect(await aws("s3", "mb", "s3://cli")).toContain("make_bucket: cli");
      // 10 MB: in parts.
      await aws("s3", "cp", "--quiet", file, "s3://cli/letters/ada.txt");
      expect(await aws("s3", "ls", "s3://cli/letters/")).toMatch(/ 10000000 ada\.txt$/);
      await aws("s3", "cp", "--quiet", "s3://cli/letters/ada.txt", `${file}.copy`);
      expect((await laptop.run("cmp", [file, `${file}.copy`])).exitCode).toBe(0);
      const url = await aws("s3", "presign", "s3://cli/letters/ada.txt");
      expect(await curl(laptop, "--range", "0-8", url)).toEqual({ status: 206, body: "Dear Ada," });
    });

    test("a queue, a topic, a table", async () => {
      const { QueueUrl } = JSON.parse(await aws("sqs", "create-queue", "--queue-name", "cli"));
      await aws("sqs", "send-message", "--queue-url", QueueUrl, "--message-body", "order 18");
      const { Messages } = JSON.parse(await aws("sqs", "receive-message", "--queue-url", QueueUrl));
      expect(Messages[0].Body).toBe("order 18");
      expect(await aws("sns", "create-topic", "--name", "cli")).toContain("arn:aws:sns:us-east-1:000000000000:cli");
      const Item = JSON.stringify({ customer: { S: "eve" }, order: { N: "18" } });
      await aws("dynamodb", "put-item", "--table-name", "orders", "--item", Item);
      const found = JSON.parse(await aws("dynamodb", "get-item", "--table-name", "orders", "--key", Item));
      expect(found.Item.customer.S).toBe("eve");
    });
  });

  test("1 GiB in parts, up and down through the gate", { timeout: 180_000 }, async () => {
    const { bytes, equal, ...seconds } = JSON.parse(await laptop.program("large-object", ["large", String(GIB)]));
    console.log(`1 GiB: up in ${seconds.uploadSeconds} s, down in ${seconds.downloadSeconds} s`);
    expect({ bytes, equal }).toEqual({ bytes: GIB, equal: true });
  });

  test("presigned URLs, for those who have no SDK", async () => {
    const { put, get } = JSON.parse(await laptop.program("presign", ["letters"]));
    expect(put).toMatch(/^https:\/\/letters\.s3\.sdk\.aws\.test:30710\/letters\/to%20ada\.txt\?/);
    const fetched = ["--input-type=module", "--eval"];
    const letter = `const answer = await fetch(${JSON.stringify(put)}, { method: "PUT", body: "Dear Ada" });
      console.log(answer.status, await (await fetch(${JSON.stringify(get)})).text());`;
    expect((await laptop.run("node", [...fetched, letter])).stdout).toBe("200 Dear Ada");
    expect((await curl(laptop, "--request", "PUT", "--data", "Dear Eve", put)).status).toBe(200);
    expect(await curl(laptop, get)).toEqual({ status: 200, body: "Dear Eve" });
  });

  describe("errors are AWS's, by the names that the SDK knows", () => {
    test("what is not there", async () => {
      const outcomes = await laptop.call([
        ["s3", "GetObject", { Bucket: "no-such-bucket", Key: "x" }],
        ["s3", "GetObject", { Bucket: "photos", Key: "x" }],
        ["sqs", "GetQueueUrl", { QueueName: "none" }],
        ["sns", "Publish", { TopicArn: "arn:aws:sns:us-east-1:000000000000:none", Message: "x" }],
        ["dynamodb", "DescribeTable", { TableName: "none" }],
        ["lambda", "GetFunction", { FunctionName: "none" }],
      ]);
      expect(outcomes.map(({ error }) => [error?.name, error?.status, error?.attempts])).toEqual([
        ["NoSuchBucket", 404, 1],
        ["NoSuchKey", 404, 1],
        ["QueueDoesNotExist", 400, 1],
        ["NotFoundException", 404, 1],
        ["ResourceNotFoundException", 400, 1],
        ["ResourceNotFoundException", 404, 1],
      ]);
    });

    test("what LocalStack cannot do, at once and without a retry", async () => {
      const unsupported = "not yet been emulated by LocalStack";
      const outcomes = await laptop.call([
        ["s3", "GetObjectTorrent", { Bucket: "photos", Key: "x" }],
        ["lambda", "PutRuntimeManagementConfig", { FunctionName: "none", UpdateRuntimeOn: "Auto" }],
        ["dynamodb", "ListExports", {}],
      ]);
      expect(outcomes.map(({ error }) => error)).toEqual([
        { name: "InternalFailure", message: expect.stringContaining(unsupported), status: 501, attempts: 1 },
        { name: "InternalFailure", message: expect.stringContaining(unsupported), status: 501, attempts: 1 },
        {
          name: "UnknownOperationException",
          message: "An unknown operation was requested.",
          status: 400,
          attempts: 1,
        },
      ]);
      const { body } = await curl(laptop, `${laptop.env.AWS_ENDPOINT_URL_S3}/photos/x?torrent`);
      expect(body).toMatch(/^<\?xml .*<Error><Code>InternalFailure<\/Code>/s);
    });

    test("a wrong region", async () => {
      const inRegion = (region: string) => ({ CreateBucketConfiguration: { LocationConstraint: region } });
      const [elsewhere] = await laptop.call(
        [["s3", "CreateBucket", { Bucket: "elsewhere", ...inRegion("us-west-2") }]],
        { BUCKET_REGION: "eu-central-1" },
      );
      expect(elsewhere?.error).toMatchObject({ name: "IllegalLocationConstraintException", status: 400 });
      const [nowhere] = await laptop.call([["s3", "CreateBucket", { Bucket: "nowhere", ...inRegion("mars-1") }]]);
      expect(nowhere?.error).toMatchObject({ name: "InvalidLocationConstraint", status: 400 });
    });
  });

  test("plain HTTP is sent to HTTPS", async () => {
    const { stdout } = await laptop.run("curl", ["--silent", "--include", "http://s3.sdk.aws.test:30710/photos?x=y"]);
    expect(stdout).toMatch(/^HTTP\/1.1 308 /);
    expect(stdout).toMatch(/^location: https:\/\/s3\.sdk\.aws\.test:30710\/photos\?x=y\r?$/im);
  });

  test("killed, it is away in AWS's words, and the SDK goes on by itself when it is back", async () => {
    // By default the SDK gives up after three attempts, some ten seconds.
    const asking = laptop.spawn("node", [programFile("steady"), "30"], { AWS_MAX_ATTEMPTS: "10" });
    await sleep(3000);
    const killed = performance.now();
    await killContainer(stack.namespace, "localstack");
    const { AWS_ENDPOINT_URL_S3: s3 = "", AWS_ENDPOINT_URL: other = "" } = laptop.env;
    expect(await curl(laptop, `${s3}/photos`)).toMatchObject({
      status: 503,
      body: expect.stringContaining("<Error><Code>ServiceUnavailable</Code><Message>LocalStack does not answer"),
    });
    const json = ["--header", "Content-Type: application/x-amz-json-1.0", "--data", "{}"];
    expect(await curl(laptop, ...json, "--header", "X-Amz-Target: DynamoDB_20120810.ListTables", other)).toMatchObject({
      status: 503,
      body: expect.stringContaining('{"__type":"ServiceUnavailable","message":"LocalStack does not answer'),
    });
    await until(async () => (await curl(laptop, s3)).status === 200, 60, "it answers again");
    console.log(`after a kill it answered again in ${((performance.now() - killed) / 1000).toFixed(0)} s`);
    const { exitCode, stdout, stderr } = await asking;
    expect(exitCode, stderr).toBe(0);
    const attempts = stdout.split("\n").map(Number);
    expect(Math.max(...attempts)).toBeGreaterThan(1);
    expect(attempts.at(-1)).toBe(1);
  });

  test("an address that is not of the home network is refused, in each service's own words", async () => {
    stack = await deployLocalStack("sdk", 30710, { storage: "4Gi", reserve: "256Mi", allowedRanges: ["192.0.2.0/24"] });
    const outcomes = await laptop.call([
      ["s3", "ListBuckets", {}],
      ["s3", "PutObject", { Bucket: "photos", Key: "x", Body: "x" }],
      ["sqs", "ListQueues", {}],
      ["sns", "ListTopics", {}],
      ["dynamodb", "ListTables", {}],
      ["lambda", "ListFunctions", {}],
    ]);
    for (const { error } of outcomes) {
      expect(error).toMatchObject({ name: "AccessDenied", status: 403, attempts: 1 });
      expect(error?.message).toMatch(/^the address \S+ is not in the ranges .* localstack\.allowedRanges/);
    }
  });
});

describe("a small LocalStack that checks signatures", () => {
  let stack: TestLocalStack;
  let laptop: Laptop;

  beforeAll(async () => {
    const environment = { S3_SKIP_SIGNATURE_VALIDATION: "0" };
    stack = await deployLocalStack("small", 30720, { storage: "256Mi", reserve: "32Mi", environment });
    laptop = stack.laptop;
  });
  afterAll(() => removeLocalStack(stack));

  test("a presigned URL works as it is, and not with another signature or for another object", async () => {
    const { put, get } = JSON.parse(await laptop.program("presign", ["signed"]));
    expect((await curl(laptop, "--request", "PUT", "--data", "Dear Ada", put)).status).toBe(200);
    expect(await curl(laptop, get)).toEqual({ status: 200, body: "Dear Ada" });
    for (const tampered of [get.replace(/Signature=\w{8}/, "Signature=00000000"), get.replace("ada", "eve")]) {
      const { status, body } = await curl(laptop, tampered);
      expect(status).toBe(403);
      expect(body).toContain("<Code>SignatureDoesNotMatch</Code>");
    }
  });

  test("full: writes say so in each service's form, reads and deletes go on, and then writes again", async () => {
    await laptop.program("table", ["orders"]);
    const QueueUrl = (await laptop.program("queue", ["orders"])).split("\n")[0];
    const message = { QueueUrl, MessageBody: "x" };
    const item = { TableName: "orders", Item: { customer: { S: "ada" }, order: { N: "19" } } };
    const [, topic] = await laptop.call([
      ["sqs", "SendMessage", message],
      ["sns", "CreateTopic", { Name: "orders" }],
    ]);
    const code = {
      ...{ FunctionName: "f", Runtime: "nodejs22.x", Handler: "index.handler", Code: { S3Bucket: "full", S3Key: "0" } },
      Role: "arn:aws:iam::000000000000:role/r",
    };

    const filled = JSON.parse(await laptop.program("fill", ["full"]));
    console.log(`after ${filled.count} objects of 16 MiB: ${filled.message}`);
    const full = /^LocalStack's storage is full: [23]\d\d\.\d MiB of 256\.0 MiB are used \(writes stop 32\.0 MiB below/;
    expect(filled).toMatchObject({ name: "QuotaExceeded", httpStatusCode: 403, attempts: 1 });
    expect(filled.message).toMatch(full);

    const refused = await laptop.call([
      ["s3", "PutObject", { Bucket: "full", Key: "x", Body: "x" }],
      ["s3", "CreateMultipartUpload", { Bucket: "full", Key: "x" }],
      ["dynamodb", "PutItem", item],
      ["sqs", "SendMessage", message],
      ["lambda", "CreateFunction", code],
    ]);
    expect(refused.map(({ error }) => [error?.name, error?.status, error?.attempts])).toEqual([
      ["QuotaExceeded", 403, 1],
      ["QuotaExceeded", 403, 1],
      ["ServiceQuotaExceededException", 400, 1],
      ["OverLimit", 400, 1],
      ["CodeStorageExceededException", 400, 1],
    ]);
    for (const { error } of refused) expect(error?.message).toMatch(full);

    const others = Array.from({ length: filled.count }, (_, count) => ({ Key: `${count}` })).slice(1);
    const goesOn = await laptop.call([
      ["s3", "GetObject", { Bucket: "signed", Key: "letters/to ada.txt" }],
      ["s3", "ListObjectsV2", { Bucket: "full" }],
      ["dynamodb", "GetItem", { TableName: "orders", Key: { customer: { S: "ada" }, order: { N: "17" } } }],
      ["dynamodb", "DeleteItem", { TableName: "orders", Key: { customer: { S: "ada" }, order: { N: "18" } } }],
      ["sqs", "ReceiveMessage", { QueueUrl }],
      ["sqs", "PurgeQueue", { QueueUrl }],
      ["sns", "Publish", { TopicArn: topic?.answer?.TopicArn, Message: "x" }],
      ["s3", "DeleteObject", { Bucket: "full", Key: "0" }],
      ["s3", "DeleteObjects", { Bucket: "full", Delete: { Objects: others } }],
    ]);
    expect(goesOn.map(({ error }) => error)).toEqual(goesOn.map(() => undefined));

    const deleted = performance.now();
    const writes: Call[] = [
      ["s3", "PutObject", { Bucket: "full", Key: "x", Body: "x" }],
      ["dynamodb", "PutItem", item],
      ["sqs", "SendMessage", message],
    ];
    await until(async () => (await laptop.call(writes)).every(({ error }) => !error), 15, "writes work again");
    console.log(`writes again ${((performance.now() - deleted) / 1000).toFixed(1)} s after the deletes`);
  });
});
