// What journal.ts has written: the numbers that are in the bucket (with their content), in the queue and in the table.
import { DynamoDBClient, paginateScan } from "@aws-sdk/client-dynamodb";
import { GetObjectCommand, paginateListObjectsV2, S3Client } from "@aws-sdk/client-s3";
import {
  ChangeMessageVisibilityCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";

const [name = ""] = process.argv.slice(2);
const [s3, sqs, dynamodb] = [new S3Client(), new SQSClient(), new DynamoDBClient()];

const objects: number[] = [];
for await (const { Contents = [] } of paginateListObjectsV2({ client: s3 }, { Bucket: name })) {
  for (const { Key } of Contents) {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: name, Key }));
    objects.push(Number(await Body?.transformToString()));
  }
}

const messages: number[] = [];
const received: (string | undefined)[] = [];
const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: name }));
for (;;) {
  const { Messages = [] } = await sqs.send(
    new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, VisibilityTimeout: 60 }),
  );
  if (Messages.length === 0) break;
  messages.push(...Messages.map(({ Body }) => Number(Body)));
  received.push(...Messages.map(({ ReceiptHandle }) => ReceiptHandle));
}
// Given back, for the next reader.
for (const ReceiptHandle of received)
  await sqs.send(new ChangeMessageVisibilityCommand({ QueueUrl, ReceiptHandle, VisibilityTimeout: 0 }));

const items: number[] = [];
for await (const { Items = [] } of paginateScan({ client: dynamodb }, { TableName: name, ConsistentRead: true }))
  items.push(...Items.map(({ id }) => Number(id?.S)));

console.log(JSON.stringify({ objects, messages, items }));
