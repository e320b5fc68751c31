// Receives from a queue that somebody else has made, by the URL that it was made with.
import { DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

const QueueUrl = process.argv[2];
const sqs = new SQSClient();
const { Messages } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 10 }));
await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: Messages?.[0]?.ReceiptHandle }));
console.log(Messages?.[0]?.Body);
