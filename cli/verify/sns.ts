import { NO_LOCALSTACK } from "./aws.ts";
import { type Criterion, fail, notMeasured, pass, seconds } from "./criterion.ts";
import { makeQueue } from "./queues.ts";
import { PREFIX } from "./run.ts";

export const sns: Criterion = {
  id: "sns",
  title: "SNS to two queues with the AWS SDK",
  limit: "what is published comes to both",
  measure: async (run) => {
    if (!run.deployment.localstack) return notMeasured(NO_LOCALSTACK);
    const { CreateTopicCommand, DeleteTopicCommand, PublishCommand, SNSClient, SubscribeCommand } = await import(
      "@aws-sdk/client-sns"
    );
    const { options } = await run.aws();
    const client = new SNSClient(options);
    const begun = performance.now();
    const Name = PREFIX + run.name;
    const { TopicArn } = await client.send(new CreateTopicCommand({ Name }));
    run.leaves(`topic ${Name}`, async () => void (await client.send(new DeleteTopicCommand({ TopicArn }))));
    const queues = await Promise.all([makeQueue(run, "sns-1"), makeQueue(run, "sns-2")]);
    for (const { arn: Endpoint } of queues) {
      const raw = { RawMessageDelivery: "true" };
      await client.send(new SubscribeCommand({ TopicArn, Protocol: "sqs", Endpoint, Attributes: raw }));
    }
    await client.send(new PublishCommand({ TopicArn, Message: run.name }));
    const came = await Promise.all(queues.map((queue) => queue.receive()));
    const count = came.filter((body) => body === run.name).length;
    if (count < queues.length) return fail(`it came to ${count} of ${queues.length} queues`);
    return pass(`published, received twice in ${seconds(performance.now() - begun)}`);
  },
};
