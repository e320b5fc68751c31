import {
  CreateQueueCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";

const sqs = new SQSClient();

const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: process.argv[2] }));
console.log(QueueUrl);
await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: "order 17" }));
const { Messages } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 5 }));
console.log(Messages?.[0]?.Body);
await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: Messages?.[0]?.ReceiptHandle }));

const names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"] as const;
const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [...names] }));
console.log(`left: ${names.map((name) => Attributes?.[name])}`);
