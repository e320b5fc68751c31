// Publishes to the topic of this name, and prints what arrives in the queue that it leads to.
import { CreateTopicCommand, PublishCommand, SNSClient } from "@aws-sdk/client-sns";
import { DeleteMessageCommand, GetQueueUrlCommand, ReceiveMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

const [name = ""] = process.argv.slice(2);
const [sqs, sns] = [new SQSClient(), new SNSClient()];

const { TopicArn } = await sns.send(new CreateTopicCommand({ Name: name }));
await sns.send(new PublishCommand({ TopicArn, Message: "hello" }));
const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: name }));
for (let attempt = 0; attempt < 20; attempt++) {
  const { Messages = [] } = await sqs.send(
    new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, VisibilityTimeout: 1, WaitTimeSeconds: 1 }),
  );
  const found = Messages.find(({ Body }) => Body?.includes(TopicArn ?? "none"));
  if (!found) continue;
  await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: found.ReceiptHandle }));
  console.log(`${name}: ${JSON.parse(found.Body ?? "{}").Message}`);
  break;
}
// Until every message that was looked at is visible again.
await new Promise((done) => setTimeout(done, 1500));
