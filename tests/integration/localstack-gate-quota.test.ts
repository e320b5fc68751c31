import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { text as textOf } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import * as dynamodb from "@aws-sdk/client-dynamodb";
import * as lambda from "@aws-sdk/client-lambda";
import * as s3 from "@aws-sdk/client-s3";
import * as sns from "@aws-sdk/client-sns";
import * as sqs from "@aws-sdk/client-sqs";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { refusalFile, STATE_FILES } from "../../components/localstack/layout.ts";
import { podTools, testTools } from "../tools.ts";
import { Front, FULL_MESSAGE } from "./localstack-front.ts";
import { Recorder, sendRaw } from "./localstack-recorder.ts";

let front: Front;
let upstream: Recorder;

beforeAll(async () => {
  front = await Front.start(await podTools(await testTools()));
  upstream = await Recorder.start(front.layout.localstackPort);
});
beforeEach(() => {
  upstream.listener = undefined;
  upstream.answer = (response) => response.end();
});
afterAll(async () => {
  await upstream?.stop();
  await front?.stop();
});

const signedFor = (service: string) =>
  `Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20261121/us-east-1/${service}/aws4_request, SignedHeaders=host, Signature=abc`;
const presignedFor = (service: string) =>
  `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20261121%2Fus-east-1%2F${service}%2Faws4_request&X-Amz-Signature=abc`;
const target = (operation: string) => `X-Amz-Target: ${operation}`;
const form = "Content-Type: application/x-www-form-urlencoded";
const multipart = "Content-Type: multipart/form-data; boundary=x";
const cbor = "Smithy-Protocol: rpc-v2-cbor";
const virtual = "Host: bucket.s3.localstack.test";

/** Line, headers, and what each is: its service, and the form of its refusal where it is a write. */
const REQUESTS: [line: string, headers: string[], service: string, refusal?: string][] = [
  // S3, however it is signed.
  ["PUT /bucket", [signedFor("s3")], "s3", "s3"],
  ["PUT /bucket/key", [signedFor("s3")], "s3", "s3"],
  ["PUT /bucket/key", [signedFor("s3express")], "s3", "s3"],
  ["PUT /bucket/key", [signedFor("s3"), "x-amz-copy-source: /a/b"], "s3", "s3"],
  ["PUT /bucket/key?partNumber=1&uploadId=x", [signedFor("s3")], "s3", "s3"],
  ["POST /bucket/key?uploads", [signedFor("s3")], "s3", "s3"],
  ["POST /bucket/key?uploadId=x", [signedFor("s3")], "s3", "s3"],
  ["PUT /bucket/key?tagging", [signedFor("s3")], "s3", "s3"],
  ["PUT /bucket/key", ["Authorization: AWS AKIA:signature"], "s3", "s3"],
  [
    "PUT /bucket/key",
    ["authorization: AWS4-ECDSA-P256-SHA256 Credential=AKIA/20261121/s3/aws4_request, Signature=a"],
    "s3",
    "s3",
  ],
  [
    "PUT /bucket/key",
    ['Authorization: AWS4-HMAC-SHA256 SignedHeaders=host,Credential="AKIA/2/r/s3/aws4_request"'],
    "s3",
    "s3",
  ],
  [`PUT /bucket/key?${presignedFor("s3")}`, [], "s3", "s3"],
  [`PUT /bucket/key?${presignedFor("s3").replaceAll("%2F", "/")}`, [], "s3", "s3"],
  [`PUT /bucket/key?${presignedFor("s3").replaceAll("%2F", "%2f")}`, [form], "s3", "s3"],
  ["PUT /bucket/key?AWSAccessKeyId=A&Signature=b&Expires=1", [], "s3", "s3"],
  ["PUT /bucket/key", [], "s3", "s3"],
  ["PUT /bucket/key", [form], "s3", "s3"],
  ["PUT /key", [virtual], "s3", "s3"],
  ["PUT /2015-03-31/functions", [virtual], "s3", "s3"],
  ["PUT /_next/static/a.js", [virtual], "s3", "s3"],
  ["POST /", [virtual, multipart], "s3", "s3"],
  ["POST /bucket", [multipart], "s3", "s3"],
  ["POST /bucket/key?uploads", [], "s3", "s3"],
  ["PUT /healthz", [signedFor("s3")], "s3", "s3"],
  ["PUT /bucket/key?lifecycle", [signedFor("s3")], "s3", "s3"],
  ["PUT /key?lifecycle", [signedFor("s3"), virtual], "s3", "s3"],
  ["PUT /bucket/key?delete", [signedFor("s3")], "s3", "s3"],
  ["POST /bucket?delete", [signedFor("s3")], "s3"],
  ["POST /bucket/?delete=&x-id=DeleteObjects", [signedFor("s3")], "s3"],
  ["POST /?delete", [virtual], "s3"],
  ["POST /bucket/key?select&select-type=2", [signedFor("s3")], "s3"],
  ["PUT /bucket?lifecycle", [signedFor("s3")], "s3"],
  ["PUT /bucket/?x-id=a&lifecycle=", [signedFor("s3")], "s3"],
  ["PUT /?lifecycle", [signedFor("s3"), virtual], "s3"],
  ["GET /bucket/key", [signedFor("s3")], "s3"],
  ["HEAD /bucket/key", [], "s3"],
  ["DELETE /bucket/key", [signedFor("s3")], "s3"],
  ["DELETE /bucket/key?uploadId=x", [signedFor("s3")], "s3"],
  ["OPTIONS /bucket/key", [], "s3"],
  ["PUT /v20180820/accesspoint/a", [signedFor("s3")], "other"],
  // DynamoDB.
  ...[
    "PutItem",
    "UpdateItem",
    "BatchWriteItem",
    "TransactWriteItems",
    "CreateTable",
    "CreateBackup",
    "ImportTable",
    "RestoreTableFromBackup",
    "ExportTableToPointInTime",
    "CreateGlobalTable",
    "PutResourcePolicy",
  ].map((operation): (typeof REQUESTS)[number] => [
    "POST /",
    [signedFor("dynamodb"), target(`DynamoDB_20120810.${operation}`)],
    "dynamodb",
    "dynamodb",
  ]),
  ...[
    "GetItem",
    "Query",
    "Scan",
    "BatchGetItem",
    "TransactGetItems",
    "DeleteItem",
    "DeleteTable",
    "UpdateTable",
    "UpdateTimeToLive",
    "TagResource",
    "ExecuteStatement",
    "BatchExecuteStatement",
    "ExecuteTransaction",
    "DescribeTable",
    "ListTables",
  ].map((operation): (typeof REQUESTS)[number] => [
    "POST /",
    [signedFor("dynamodb"), target(`DynamoDB_20120810.${operation}`)],
    "dynamodb",
  ]),
  ["POST /", [target("DynamoDB_20120810.PutItem")], "dynamodb", "dynamodb"],
  ["POST /", [signedFor("dynamodb"), target("DynamoDBStreams_20120810.GetRecords")], "dynamodb"],
  // SQS.
  ...["SendMessage", "SendMessageBatch", "CreateQueue", "StartMessageMoveTask"].map(
    (operation): (typeof REQUESTS)[number] => [
      "POST /",
      [signedFor("sqs"), target(`AmazonSQS.${operation}`)],
      "sqs",
      "sqs",
    ],
  ),
  ...[
    "ReceiveMessage",
    "DeleteMessage",
    "DeleteMessageBatch",
    "PurgeQueue",
    "ChangeMessageVisibility",
    "SetQueueAttributes",
    "TagQueue",
    "AddPermission",
    "GetQueueUrl",
    "ListQueues",
    "DeleteQueue",
    "CancelMessageMoveTask",
  ].map((operation): (typeof REQUESTS)[number] => [
    "POST /",
    [signedFor("sqs"), target(`AmazonSQS.${operation}`)],
    "sqs",
  ]),
  ["POST /queue/us-east-1/000000000000/q", [target("AmazonSQS.SendMessage")], "sqs", "sqs"],
  ["POST /", [signedFor("sqs"), form], "sqs"],
  ["POST /queue/us-east-1/000000000000/q", [form], "sqs"],
  ["POST /000000000000/q.fifo", [form], "sqs"],
  ["GET /000000000000/q?Action=SendMessage&MessageBody=a", [], "sqs"],
  // Lambda.
  ["POST /2015-03-31/functions", [signedFor("lambda")], "lambda", "lambda"],
  ["POST /2015-03-31/functions/", [], "lambda", "lambda"],
  ["PUT /2015-03-31/functions/f/code", [signedFor("lambda")], "lambda", "lambda"],
  [
    "PUT /2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af/code",
    [signedFor("lambda")],
    "lambda",
    "lambda",
  ],
  ["POST /2015-03-31/functions/f/versions", [signedFor("lambda")], "lambda", "lambda"],
  ["POST /2018-10-31/layers/l/versions", [signedFor("lambda")], "lambda", "lambda"],
  ["POST /2015-03-31/functions/f/invocations", [signedFor("lambda")], "lambda"],
  ["POST /2015-03-31/functions/f/invocations", [], "lambda"],
  ["POST /2014-11-13/functions/f/invoke-async", [signedFor("lambda")], "lambda"],
  ["POST /2021-11-15/functions/f/response-streaming-invocations", [signedFor("lambda")], "lambda"],
  ["PUT /2015-03-31/functions/f/configuration", [signedFor("lambda")], "lambda"],
  ["POST /2015-03-31/functions/f/aliases", [signedFor("lambda")], "lambda"],
  ["POST /2015-03-31/event-source-mappings", [signedFor("lambda")], "lambda"],
  ["PUT /2017-10-31/functions/f/concurrency", [signedFor("lambda")], "lambda"],
  ["DELETE /2015-03-31/functions/f", [signedFor("lambda")], "lambda"],
  ["PUT /anything", ["Host: abc.lambda-url.us-east-1.localstack.test"], "lambda"],
  // Others that name their operation.
  ...[
    "AWSEvents.PutEvents",
    "Logs_20140328.PutLogEvents",
    "Logs_20140328.CreateLogGroup",
    "Kinesis_20131202.PutRecords",
    "Firehose_20150804.PutRecordBatch",
    "AmazonSSM.PutParameter",
    "secretsmanager.CreateSecret",
    "AWSStepFunctions.StartExecution",
    "TrentService.ImportKeyMaterial",
  ].map((operation): (typeof REQUESTS)[number] => [
    "POST /",
    [signedFor("events"), target(operation)],
    "other",
    "json",
  ]),
  ...[
    "Logs_20140328.PutRetentionPolicy",
    "Logs_20140328.StartQuery",
    "Logs_20140328.FilterLogEvents",
    "AWSStepFunctions.SendTaskSuccess",
    "secretsmanager.UpdateSecret",
    "AmazonSSM.DeleteParameter",
    "Logs_20140328.TagResource",
    "NoDot",
  ].map((operation): (typeof REQUESTS)[number] => ["POST /", [signedFor("logs"), target(operation)], "other"]),
  [
    "POST /service/GraniteServiceVersion20100801/operation/PutMetricData",
    [signedFor("monitoring"), cbor],
    "other",
    "json",
  ],
  ["POST /service/GraniteServiceVersion20100801/operation/GetMetricData", [signedFor("monitoring"), cbor], "other"],
  ["POST /service/Any/operation/PutThing", [cbor], "other", "json"],
  // The query protocol.
  ["POST /", [signedFor("sns"), form], "sns"],
  ["POST /", [signedFor("iam"), form], "other"],
  ["POST /", [form], "other"],
  ["POST /?Action=Publish", [], "other"],
  // REST, LocalStack's own, and deployed APIs.
  ["PUT /restapis/a/methods", [signedFor("apigateway")], "other"],
  ["POST /restapis/a/dev/_user_request_/x", [], "other"],
  ["PUT /x", ["Host: abc.execute-api.localstack.test"], "other"],
  ["POST /_aws/execute-api/a/dev/x", [], "other"],
  ["PUT /_localstack/config", [], "other"],
  ["POST /_localstack/state/reset", [], "other"],
  ["POST /2013-04-01/hostedzone", [], "other"],
  ["POST /anything", ["Content-Type: application/json"], "other"],
];

describe("which requests are writes", () => {
  const ask = (line: string, headers: string[]) => {
    const host = headers.some((header) => header.startsWith("Host:")) ? [] : ["Host: localstack.test"];
    const all = [...host, ...headers, "Connection: close", "Content-Length: 0"];
    return sendRaw(front.layout.gatePort, [`${line} HTTP/1.1\r\n${all.join("\r\n")}\r\n\r\n`]);
  };
  const uploadsSeen = () => upstream.seen.length;

  test("with room for them, all pass", async () => {
    await front.full(false);
    const before = uploadsSeen();
    for (const [line, headers] of REQUESTS) expect((await ask(line, headers)).status, line).toBe(200);
    expect(uploadsSeen() - before).toBe(REQUESTS.length);
    const lines = (await front.accessLog()).slice(-REQUESTS.length);
    const services = REQUESTS.map(([line, headers], at) => [line, headers, lines[at]?.service]);
    expect(services).toEqual(REQUESTS.map(([line, headers, service]) => [line, headers, service]));
  });

  describe("without room", () => {
    beforeAll(() => front.full(true));
    afterAll(() => front.full(false));

    test.each(REQUESTS)("%s %j (%s): %s", async (line, headers, _, refusal) => {
      const before = uploadsSeen();
      const answer = await ask(line, headers);
      if (!refusal) {
        expect(answer.status, answer.body.toString()).toBe(200);
        return;
      }
      expect(uploadsSeen()).toBe(before);
      expect(answer.status).toBe(refusal === "s3" ? 403 : 400);
      expect(answer.body.toString()).toContain(FULL_MESSAGE);
      const codes = {
        s3: "QuotaExceeded",
        dynamodb: "v20120810#Service",
        sqs: "sqs#OverLimit",
        lambda: '"Type":"User"',
        json: '"ServiceQuotaExceeded',
      };
      expect(answer.body.toString()).toContain(codes[refusal as keyof typeof codes]);
    });

    test("only the limit itself refuses as well, should its flag come first", async () => {
      await front.full(false);
      await front.state(STATE_FILES.over, "");
      expect((await ask("PUT /bucket/key", [])).status).toBe(403);
      expect((await ask("POST /bucket?delete", [signedFor("s3")])).status).toBe(200);
      await front.state(STATE_FILES.over, undefined);
      await front.full(true);
    });

    test("a refusal whose text is missing is still one", async () => {
      await front.state(refusalFile("s3"), undefined);
      await front.state(refusalFile("sqs"), undefined);
      const answer = await ask("PUT /bucket/key", []);
      expect(answer.status).toBe(403);
      expect(answer.body.toString()).toContain("<Code>QuotaExceeded</Code>");
      expect((await ask("POST /", [target("AmazonSQS.SendMessage")])).body.toString()).toContain(
        '"__type":"QuotaExceeded"',
      );
      await front.full(true);
    });

    test("are counted, and named in the log", async () => {
      const before = await front.count("refused");
      await ask("PUT /bucket/key", [signedFor("s3")]);
      await ask("POST /", [target("DynamoDB_20120810.PutItem")]);
      await ask("GET /bucket/key", []);
      const lines = (await front.accessLog()).slice(-3);
      expect(lines.map(({ path, service, status, refused }) => ({ path, service, status, refused }))).toEqual([
        { path: "/bucket/key", service: "s3", status: 403, refused: "quota" },
        { path: "/", service: "dynamodb", status: 400, refused: "quota" },
        { path: "/bucket/key", service: "s3", status: 200, refused: "" },
      ]);
      expect((await front.count("refused")) - before).toBe(2);
    });
  });
});

/** Every host name is this machine: SDKs put the bucket into it. */
const lookup = ((_: string, options: { all?: boolean }, done: (...args: unknown[]) => void) =>
  options.all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4)) as never;

describe("what the AWS SDK makes of a refusal", () => {
  beforeAll(() => front.full(true));
  afterAll(() => front.full(false));

  const options = () => ({
    endpoint: front.url,
    region: "us-east-1",
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
    maxAttempts: 3,
  });
  const byPath = () => new s3.S3Client({ ...options(), forcePathStyle: true });
  const byHost = () =>
    new s3.S3Client({
      ...options(),
      endpoint: `http://s3.localstack.test:${front.layout.gatePort}`,
      requestHandler: { httpAgent: { lookup } },
    });
  const tables = () => new dynamodb.DynamoDBClient(options());
  const queues = () => new sqs.SQSClient(options());
  const functions = () => new lambda.LambdaClient(options());

  const item = { k: { S: "1" } };
  const [Bucket, Key, UploadId, TableName] = ["bucket", "a/key", "upload", "table"];
  const QueueUrl = "http://localstack.test/queue/us-east-1/000000000000/q";
  const zip = Buffer.alloc(1000);
  const func = { FunctionName: "f", Role: "arn:aws:iam::000000000000:role/r", Code: { ZipFile: zip } };

  const WRITES: Record<string, [name: string, status: number, send: () => Promise<unknown>]> = {
    PutObject: ["QuotaExceeded", 403, () => byPath().send(new s3.PutObjectCommand({ Bucket, Key, Body: "x" }))],
    "PutObject, the bucket in the host": [
      "QuotaExceeded",
      403,
      () => byHost().send(new s3.PutObjectCommand({ Bucket, Key, Body: "x" })),
    ],
    "PutObject of 8 MiB": [
      "QuotaExceeded",
      403,
      () => byPath().send(new s3.PutObjectCommand({ Bucket, Key, Body: Buffer.alloc(2 ** 23) })),
    ],
    CopyObject: [
      "QuotaExceeded",
      403,
      () => byPath().send(new s3.CopyObjectCommand({ Bucket, Key, CopySource: "a/b" })),
    ],
    CreateBucket: ["QuotaExceeded", 403, () => byPath().send(new s3.CreateBucketCommand({ Bucket }))],
    CreateMultipartUpload: [
      "QuotaExceeded",
      403,
      () => byPath().send(new s3.CreateMultipartUploadCommand({ Bucket, Key })),
    ],
    UploadPart: [
      "QuotaExceeded",
      403,
      () => byPath().send(new s3.UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: "x" })),
    ],
    CompleteMultipartUpload: [
      "QuotaExceeded",
      403,
      () => byPath().send(new s3.CompleteMultipartUploadCommand({ Bucket, Key, UploadId })),
    ],
    PutItem: [
      "ServiceQuotaExceededException",
      400,
      () => tables().send(new dynamodb.PutItemCommand({ TableName, Item: item })),
    ],
    UpdateItem: [
      "ServiceQuotaExceededException",
      400,
      () => tables().send(new dynamodb.UpdateItemCommand({ TableName, Key: item })),
    ],
    BatchWriteItem: [
      "ServiceQuotaExceededException",
      400,
      () =>
        tables().send(
          new dynamodb.BatchWriteItemCommand({ RequestItems: { table: [{ PutRequest: { Item: item } }] } }),
        ),
    ],
    TransactWriteItems: [
      "ServiceQuotaExceededException",
      400,
      () =>
        tables().send(new dynamodb.TransactWriteItemsCommand({ TransactItems: [{ Put: { TableName, Item: item } }] })),
    ],
    SendMessage: ["OverLimit", 400, () => queues().send(new sqs.SendMessageCommand({ QueueUrl, MessageBody: "x" }))],
    SendMessageBatch: [
      "OverLimit",
      400,
      () => queues().send(new sqs.SendMessageBatchCommand({ QueueUrl, Entries: [{ Id: "1", MessageBody: "x" }] })),
    ],
    CreateQueue: ["OverLimit", 400, () => queues().send(new sqs.CreateQueueCommand({ QueueName: "q" }))],
    CreateFunction: [
      "CodeStorageExceededException",
      400,
      () => functions().send(new lambda.CreateFunctionCommand(func)),
    ],
    UpdateFunctionCode: [
      "CodeStorageExceededException",
      400,
      () => functions().send(new lambda.UpdateFunctionCodeCommand({ FunctionName: "f", ZipFile: zip })),
    ],
    PublishLayerVersion: [
      "CodeStorageExceededException",
      400,
      () => functions().send(new lambda.PublishLayerVersionCommand({ LayerName: "l", Content: { ZipFile: zip } })),
    ],
  };

  test.each(Object.entries(WRITES))(
    "%s: an error with its name and the figures, not tried again",
    async (_, [name, status, send]) => {
      const error = await send().then(
        () => undefined,
        (thrown) => thrown,
      );
      expect(error).toMatchObject({ name, message: FULL_MESSAGE, $metadata: { httpStatusCode: status, attempts: 1 } });
      expect(error.$metadata.requestId).toMatch(/^[0-9a-f]{32}$/);
    },
  );

  test("a modelled error is of its class", async () => {
    const error = await functions()
      .send(new lambda.CreateFunctionCommand(func))
      .catch((thrown) => thrown);
    expect(error).toBeInstanceOf(lambda.CodeStorageExceededException);
    expect(error.Type).toBe("User");
  });

  test("a presigned PUT and a browser's form say it in XML", async () => {
    const url = await getSignedUrl(byPath(), new s3.PutObjectCommand({ Bucket, Key }), { expiresIn: 60 });
    const form = new FormData();
    form.set("key", "a");
    form.set("file", new Blob(["x"]));
    for (const answer of [
      await fetch(url, { method: "PUT", body: "x" }),
      await fetch(`${front.url}/bucket`, { method: "POST", body: form }),
    ]) {
      expect(answer.status).toBe(403);
      expect(answer.headers.get("content-type")).toBe("application/xml");
      expect(await answer.text()).toContain(
        `<Error><Code>QuotaExceeded</Code><Message>${FULL_MESSAGE}</Message></Error>`,
      );
    }
  });

  test("a conditional write is refused like any other", async () => {
    const error = await byPath()
      .send(new s3.PutObjectCommand({ Bucket, Key, Body: "x", IfNoneMatch: "*" }))
      .catch((thrown) => thrown);
    expect(error.name).toBe("QuotaExceeded");
  });

  const PASSES: Record<string, () => Promise<unknown>> = {
    GetObject: () => byPath().send(new s3.GetObjectCommand({ Bucket, Key })),
    ListObjectsV2: () => byPath().send(new s3.ListObjectsV2Command({ Bucket })),
    DeleteObject: () => byPath().send(new s3.DeleteObjectCommand({ Bucket, Key })),
    DeleteObjects: () => byPath().send(new s3.DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key }] } })),
    "DeleteObjects, the bucket in the host": () =>
      byHost().send(new s3.DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key }] } })),
    AbortMultipartUpload: () => byPath().send(new s3.AbortMultipartUploadCommand({ Bucket, Key, UploadId })),
    PutBucketLifecycleConfiguration: () =>
      byPath().send(new s3.PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules: [] } })),
    "PutBucketLifecycleConfiguration, the bucket in the host": () =>
      byHost().send(new s3.PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules: [] } })),
    GetItem: () => tables().send(new dynamodb.GetItemCommand({ TableName, Key: item })),
    DeleteItem: () => tables().send(new dynamodb.DeleteItemCommand({ TableName, Key: item })),
    UpdateTimeToLive: () =>
      tables().send(
        new dynamodb.UpdateTimeToLiveCommand({
          TableName,
          TimeToLiveSpecification: { Enabled: true, AttributeName: "t" },
        }),
      ),
    ReceiveMessage: () => queues().send(new sqs.ReceiveMessageCommand({ QueueUrl })),
    DeleteMessage: () => queues().send(new sqs.DeleteMessageCommand({ QueueUrl, ReceiptHandle: "x" })),
    PurgeQueue: () => queues().send(new sqs.PurgeQueueCommand({ QueueUrl })),
    Publish: () =>
      new sns.SNSClient(options()).send(
        new sns.PublishCommand({ TopicArn: "arn:aws:sns:us-east-1:000000000000:t", Message: "x" }),
      ),
    Invoke: () => functions().send(new lambda.InvokeCommand({ FunctionName: "f" })),
    DeleteFunction: () => functions().send(new lambda.DeleteFunctionCommand({ FunctionName: "f" })),
  };

  test.each(Object.entries(PASSES))("%s goes on", async (_, send) => {
    const before = upstream.seen.length;
    // What the recorder answers is of no service.
    await send().catch(() => undefined);
    expect(upstream.seen.length).toBeGreaterThan(before);
  });
});

describe("a write is refused before its body is taken", () => {
  beforeAll(() => front.full(true));
  afterAll(() => front.full(false));

  test("one that asks before it sends is not told to", async () => {
    const asked = [
      "PUT /bucket/key HTTP/1.1",
      "Host: a",
      "Connection: close",
      "Expect: 100-continue",
      "Content-Length: 5368709120",
    ];
    const answer = await sendRaw(front.layout.gatePort, [`${asked.join("\r\n")}\r\n\r\n`, { pause: 100 }], 2000);
    expect(answer.status).toBe(403);
    expect(answer.before).toEqual([]);
  });

  test("one that begins to send at once is answered before its end", async () => {
    for (const headers of [{ "content-length": "5368709120" }, {}]) {
      // It has no end.
      const upload = start(`${front.url}/bucket/key`, headers);
      expect((await ended(upload)).status).toBe(403);
      upload.destroy();
    }
  });
});

describe("uploads under way when the limit is reached", () => {
  afterAll(async () => {
    await front.state(STATE_FILES.over, undefined);
    await front.full(false);
  });

  test("are cut with the reason; downloads and everything else go on", async () => {
    let closed = 0;
    upstream.listener = async (asked, response) => {
      if (asked.method === "PUT") {
        asked.resume().on("close", () => {
          if (!asked.complete) closed++;
        });
        return;
      }
      asked.resume();
      response.writeHead(200);
      for (let second = 0; second < 6; second++) {
        response.write("piece ");
        await sleep(500);
      }
      response.end("whole");
    };
    const download = fetch(`${front.url}/bucket/key`).then((answer) => answer.text());
    const invocation = fetch(`${front.url}/2015-03-31/functions/f/invocations`, { method: "POST", body: "{}" }).then(
      (answer) => answer.text(),
    );
    const uploads = Array.from({ length: 20 }, (_, at) =>
      start(`${front.url}/bucket/key-${at}`, at % 2 === 0 ? { "content-length": "5368709120" } : {}),
    );
    const ends = uploads.map(ended);
    await sleep(500);
    await front.full(true);
    await sleep(1500);
    expect(closed, "what has begun may go on until the limit").toBe(0);

    await front.state(STATE_FILES.over, "");
    const told = await Promise.all(ends);
    for (const { status, type, body } of told) {
      expect(status).toBe(403);
      expect(type).toBe("application/xml");
      expect(body).toContain(`<Code>QuotaExceeded</Code><Message>${FULL_MESSAGE}</Message>`);
    }
    for (const upload of uploads) upload.destroy();
    await sleep(100);
    expect(closed).toBe(20);
    expect(await download).toMatch(/whole$/);
    expect(await invocation).toMatch(/whole$/);
    const lines = (await front.accessLog()).filter(({ path }) => /^\/bucket\/key-/.test(String(path)));
    expect(lines.map(({ refused }) => refused)).toEqual(Array.from({ length: 20 }, () => "quota"));
  });

  test("may begin again once there is room", async () => {
    upstream.answer = (response, _, body) => response.end(String(body.length));
    await front.state(STATE_FILES.over, undefined);
    await front.full(false);
    const answer = await fetch(`${front.url}/bucket/key`, { method: "PUT", body: "12345" });
    expect(await answer.text()).toBe("5");
  });

  test("the relay itself begins none, whatever passed the gate before", async () => {
    for (const flag of [STATE_FILES.full, STATE_FILES.over]) {
      await front.full(true);
      await front.state(STATE_FILES.full, undefined);
      await front.state(flag, "");
      const answer = await fetch(`http://127.0.0.1:${front.layout.uploadsPort}/bucket/key`, {
        method: "PUT",
        body: "x",
      });
      expect(answer.status).toBe(403);
      expect(await answer.text()).toContain(FULL_MESSAGE);
      await front.state(flag, undefined);
    }
  });

  test("a relay that was killed comes back by itself", async () => {
    const relay = await fetch(`http://127.0.0.1:${front.layout.uploadsPort}/`);
    expect(await relay.text()).toMatch(/Writing: \d/);
    await front.end("relay", "SIGKILL");
    expect((await fetch(`${front.url}/bucket/key`, { method: "PUT", body: "x" })).status).toBe(503);
    front.run("relay");
    await front.untilListening();
    expect((await fetch(`${front.url}/bucket/key`, { method: "PUT", body: "x" })).status).toBe(200);
  });
});

/** An upload that has begun and does not end by itself. */
function start(url: string, headers: Record<string, string>): ClientRequest {
  const upload = request(url, { method: "PUT", headers });
  upload.on("error", () => undefined);
  upload.write("begun");
  const timer = setInterval(() => upload.write("more"), 50);
  upload.on("close", () => clearInterval(timer));
  return upload;
}

async function ended(upload: ClientRequest): Promise<{ status?: number; type?: string; body: string }> {
  const answer = await new Promise<IncomingMessage | undefined>((resolve) => {
    upload.on("response", resolve);
    upload.on("close", () => resolve(undefined));
  });
  if (!answer) return { body: "" };
  return {
    ...(answer.statusCode ? { status: answer.statusCode } : {}),
    ...(answer.headers["content-type"] ? { type: answer.headers["content-type"] } : {}),
    body: await textOf(answer).catch(() => ""),
  };
}
