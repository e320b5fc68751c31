import { CreateTopicCommand, PublishCommand, SNSClient, SubscribeCommand } from "@aws-sdk/client-sns";
import { CreateQueueCommand, GetQueueAttributesCommand, ReceiveMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

const name = process.argv[2];
const sns = new SNSClient();
const sqs = new SQSClient();

const { TopicArn } = await sns.send(new CreateTopicCommand({ Name: name }));
const queues = await Promise.all(["mail", "audit"].map((purpose) => subscribed(`${name}-${purpose}`)));
await sns.send(new PublishCommand({ TopicArn, Message: "order 17 has been paid", Subject: "orders" }));

for (const QueueUrl of queues) {
  const { Messages } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 10 }));
  const { Subject, Message } = JSON.parse(Messages?.[0]?.Body ?? "{}");
  console.log(`${QueueUrl?.split("/").at(-1)}: ${Subject}: ${Message}`);
}

/** A queue that gets what is published. */
async function subscribed(QueueName: string): Promise<string | undefined> {
  const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName }));
  const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["QueueArn"] }));
  await sns.send(new SubscribeCommand({ TopicArn, Protocol: "sqs", Endpoint: Attributes?.QueueArn }));
  return QueueUrl;
}
