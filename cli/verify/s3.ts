import { randomBytes } from "node:crypto";
import { NO_LOCALSTACK } from "./aws.ts";
import { makeBucket } from "./buckets.ts";
import { type Criterion, fail, notMeasured, pass, seconds } from "./criterion.ts";

export const s3: Criterion = {
  id: "s3",
  title: "S3 with the AWS SDK",
  limit: "put, list and get an object",
  measure: async (run) => {
    if (!run.deployment.localstack) return notMeasured(NO_LOCALSTACK);
    const begun = performance.now();
    const bucket = await makeBucket(run);
    const content = randomBytes(100_000);
    await bucket.put("object", content);
    if (!(await bucket.list()).includes("object")) return fail("the object is not listed");
    if (!content.equals(await bucket.get("object"))) return fail("the object came back with other bytes");
    return pass(`put, listed, got in ${seconds(performance.now() - begun)}`);
  },
};
