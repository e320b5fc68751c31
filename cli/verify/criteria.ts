import { certificates } from "./certificates.ts";
import type { Criterion } from "./criterion.ts";
import { dynamodb } from "./dynamodb.ts";
import { lambda } from "./lambda.ts";
import { localstackQuota } from "./localstack-quota.ts";
import { localstackRestart } from "./localstack-restart.ts";
import { login } from "./login.ts";
import { missing } from "./missing.ts";
import { names } from "./names.ts";
import { page } from "./page.ts";
import { pod } from "./pod.ts";
import { pull } from "./pull.ts";
import { push } from "./push.ts";
import { quota } from "./quota.ts";
import { registryRestart } from "./registry-restart.ts";
import { roles } from "./roles.ts";
import { s3 } from "./s3.ts";
import { sns } from "./sns.ts";
import { sqs } from "./sqs.ts";

/** In the order in which they are measured: what the others need first, restarts last. Each is explained in docs/verify.md. */
export const CRITERIA: readonly Criterion[] = [
  names,
  certificates,
  login,
  missing,
  roles,
  push,
  pull,
  quota,
  page,
  pod,
  s3,
  sqs,
  sns,
  dynamodb,
  lambda,
  localstackQuota,
  registryRestart,
  localstackRestart,
];
