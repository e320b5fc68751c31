import { PREFIX, type Run } from "./run.ts";

export interface Queue {
  url: string;
  arn: string;
  send(body: string): Promise<void>;
  /** The next message's text; undefined where none comes in ten seconds. */
  receive(): Promise<string | undefined>;
}

/** A queue of the run's. It goes again at the end. */
export async function makeQueue(run: Run, purpose: string): Promise<Queue> {
  const {
    CreateQueueCommand,
    DeleteQueueCommand,
    GetQueueAttributesCommand,
    ReceiveMessageCommand,
    SendMessageCommand,
    SQSClient,
  } = await import("@aws-sdk/client-sqs");
  const { options } = await run.aws();
  const sqs = new SQSClient(options);
  const QueueName = `${PREFIX}${run.name}-${purpose}`;
  const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName }));
  run.leaves(`queue ${QueueName}`, async () => void (await sqs.send(new DeleteQueueCommand({ QueueUrl }))));
  const attributes = new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["QueueArn"] });
  const { Attributes } = await sqs.send(attributes);
  return {
    url: QueueUrl ?? "",
    arn: Attributes?.QueueArn ?? "",
    send: async (MessageBody) => void (await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }))),
    receive: async () => {
      const { Messages } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 10 }));
      return Messages?.[0]?.Body;
    },
  };
}
