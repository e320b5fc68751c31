// Any operations, one after the other: node call.ts '[["s3", "GetObject", { "Bucket": … }], …]'. Prints what came of each.
import * as dynamodb from "@aws-sdk/client-dynamodb";
import * as lambda from "@aws-sdk/client-lambda";
import * as s3 from "@aws-sdk/client-s3";
import * as sns from "@aws-sdk/client-sns";
import * as sqs from "@aws-sdk/client-sqs";

/** What came of an operation: its answer, or how the SDK names the error. */
export interface Outcome {
  answer?: Record<string, unknown>;
  error?: { name: string; message: string; status: number | undefined; attempts: number | undefined };
}

/** An operation of the SDK. */
export type Call = [service: keyof typeof clients, operation: string, input: object];
type Send = (command: object) => Promise<Record<string, unknown>>;

const clients = {
  dynamodb: [new dynamodb.DynamoDBClient(), dynamodb],
  lambda: [new lambda.LambdaClient(), lambda],
  s3: [new s3.S3Client({ region: process.env.BUCKET_REGION ?? process.env.AWS_REGION ?? "" }), s3],
  sns: [new sns.SNSClient(), sns],
  sqs: [new sqs.SQSClient(), sqs],
} as const;

const outcomes: Outcome[] = [];
for (const [service, operation, input] of JSON.parse(process.argv[2] ?? "[]") as Call[]) {
  const [client, commands] = clients[service];
  const Command = (commands as unknown as Record<string, new (input: object) => object>)[`${operation}Command`];
  if (!Command) throw new Error(`${service} has no ${operation}`);
  outcomes.push(await outcomeOf((client.send as Send).call(client, new Command(input))));
}
console.log(JSON.stringify(outcomes));

async function outcomeOf(pending: Promise<Record<string, unknown>>): Promise<Outcome> {
  try {
    const { $metadata, Body, ...answer } = await pending;
    // A body that nobody reads keeps its connection, and this process, open.
    await (Body as { transformToByteArray(): Promise<unknown> } | undefined)?.transformToByteArray();
    return { answer };
  } catch (thrown) {
    const { name, message, $metadata } = thrown as Error & {
      $metadata?: { httpStatusCode?: number; attempts?: number };
    };
    return { error: { name, message, status: $metadata?.httpStatusCode, attempts: $metadata?.attempts } };
  }
}
