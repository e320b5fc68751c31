// Writes a number to a bucket, a queue and a table, then the next one, and says when each was acknowledged by all three.
import { DynamoDBClient, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { GetQueueUrlCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

const [name = "", seconds = "0"] = process.argv.slice(2);
// What is not acknowledged at once is not written twice: the reader could not tell.
const options = { maxAttempts: 1 };
const [s3, sqs, dynamodb] = [new S3Client(options), new SQSClient(options), new DynamoDBClient(options)];
const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: name }));

const until = Date.now() + Number(seconds) * 1000;
for (let number = 0; Date.now() < until; number++) {
  const text = String(number);
  try {
    await Promise.all([
      s3.send(new PutObjectCommand({ Bucket: name, Key: text, Body: text })),
      sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: text })),
      dynamodb.send(new PutItemCommand({ TableName: name, Item: { id: { S: text } } })),
    ]);
    console.log(JSON.stringify({ number, at: Date.now() }));
  } catch (error) {
    console.log(JSON.stringify({ failed: (error as Error).name, at: Date.now() }));
    break;
  }
}
