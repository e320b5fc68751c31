// Nothing in here knows of LocalStack: on AWS the same program does the same.
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import {
  CreateQueueCommand,
  DeleteMessageCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";

const s3 = new S3Client();
const sqs = new SQSClient();
const bucket = process.env.BUCKET ?? "reports";

await s3.send(new CreateBucketCommand({ Bucket: bucket })).catch((error) => {
  if (!["BucketAlreadyOwnedByYou", "BucketAlreadyExists"].includes(error.name)) throw error;
});
await s3.send(new PutObjectCommand({ Bucket: bucket, Key: "today.txt", Body: "all is well" }));

const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: "reports" }));
await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: "today.txt" }));

const { Messages } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 10 }));
const message = Messages?.[0];
const { Body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: message?.Body }));
await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: message?.ReceiptHandle }));

console.log(`${message?.Body}: ${await Body?.transformToString()}`);
