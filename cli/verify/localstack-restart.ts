import { randomBytes } from "node:crypto";
import { localstackEnvironment, NO_LOCALSTACK } from "./aws.ts";
import { makeBucket } from "./buckets.ts";
import { type Criterion, fail, needed, notMeasured, pass, seconds } from "./criterion.ts";
import { PATIENCE, restart } from "./restart.ts";
import type { Run } from "./run.ts";

const GONE = ["NoSuchBucket", "NoSuchKey"];

export const localstackRestart: Criterion = {
  id: "localstack-restart",
  title: "Objects outlive a restart of LocalStack's pod",
  limit: "the same object after it",
  patience: PATIENCE,
  measure: async (run) => {
    if (!run.deployment.localstack) return notMeasured(NO_LOCALSTACK);
    if (!(await keepsData(run))) return notMeasured("this edition keeps nothing (localstack.edition: ephemeral)");
    if (run.restarts !== true) return notMeasured(run.restarts);
    const { namespace, endpoint, ca } = await run.localstackAccess();
    const content = randomBytes(10_000);
    const bucket = await needed("a write", makeBucket(run));
    await needed("a write", bucket.put("kept", content));
    const serves = async () => (await run.ask(new URL("/_localstack/health", endpoint), { ca })).status === 200;
    const away = await restart(run, { namespace, name: "localstack" }, serves);
    const found = await bucket.get("kept").catch((error: Error) => {
      if (GONE.includes(error.name)) return undefined;
      throw error;
    });
    if (!found)
      return fail("the object is gone", "is the volume localstack-data a PersistentVolumeClaim? docs/verify.md");
    if (!found.equals(content)) return fail("the object came back with other bytes");
    return pass(`the same object; no answer for ${seconds(away)}`);
  },
};

/** The editions that keep their data are told so. */
const keepsData = async (run: Run) => (await localstackEnvironment(run)).get("PERSISTENCE") === "1";
