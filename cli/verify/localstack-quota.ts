import { randomBytes } from "node:crypto";
import { POD_LAYOUT, STATE_FILES } from "../../components/localstack/layout.ts";
import { NO_LOCALSTACK } from "./aws.ts";
import { makeBucket } from "./buckets.ts";
import { type Criterion, notMeasured } from "./criterion.ts";
import { COUNTED, measureQuota, WALK } from "./quota.ts";

export const localstackQuota: Criterion = {
  id: "localstack-quota",
  title: "LocalStack's quota counts what is stored, and the gate goes by it",
  limit: "counted and enforced",
  patience: WALK + 30,
  measure: async (run) => {
    if (!run.deployment.localstack) return notMeasured(NO_LOCALSTACK);
    return await measureQuota(run, {
      workload: "localstack",
      namespace: run.deployment.localstack.namespace,
      counter: "watch",
      flags: [STATE_FILES.full, STATE_FILES.over].map((file) => `if (-f ${POD_LAYOUT.state}/${file}) {`),
      store: async () => {
        const { put } = await makeBucket(run);
        await put("counted", randomBytes(COUNTED));
      },
    });
  },
};
