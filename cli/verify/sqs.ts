import { NO_LOCALSTACK } from "./aws.ts";
import { type Criterion, fail, notMeasured, pass, seconds } from "./criterion.ts";
import { makeQueue } from "./queues.ts";

export const sqs: Criterion = {
  id: "sqs",
  title: "SQS with the AWS SDK",
  limit: "send and receive a message",
  measure: async (run) => {
    if (!run.deployment.localstack) return notMeasured(NO_LOCALSTACK);
    const begun = performance.now();
    const queue = await makeQueue(run, "sqs");
    await queue.send(run.name);
    if ((await queue.receive()) !== run.name) return fail("what was sent did not come");
    return pass(`sent, received in ${seconds(performance.now() - begun)}`);
  },
};
