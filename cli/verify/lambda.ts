import { localstackEnvironment, NO_LOCALSTACK } from "./aws.ts";
import { type Criterion, fail, notMeasured, pass, seconds } from "./criterion.ts";
import { PREFIX, type Run } from "./run.ts";
import { zipOf } from "./zip.ts";

/** The image of a runtime is half a gigabyte, and comes at its first use. */
const LIMIT = 120;

const CODE = 'exports.handler = async ({ name }) => ({ greeting: "hello " + name });\n';

export const lambda: Criterion = {
  id: "lambda",
  title: "Lambda with the AWS SDK",
  limit: "make and call a function",
  patience: LIMIT + 30,
  measure: async (run) => {
    if (!run.deployment.localstack) return notMeasured(NO_LOCALSTACK);
    if (!(await functionsRun(run))) return notMeasured("functions do not run here (localstack.lambda.mode: none)");
    const { CreateFunctionCommand, DeleteFunctionCommand, InvokeCommand, LambdaClient, waitUntilFunctionActiveV2 } =
      await import("@aws-sdk/client-lambda");
    const { options } = await run.aws();
    const client = new LambdaClient(options);
    const begun = performance.now();
    const FunctionName = PREFIX + run.name;
    await client.send(
      new CreateFunctionCommand({
        ...{ FunctionName, Runtime: "nodejs24.x", Handler: "index.handler", Timeout: 30 },
        Role: "arn:aws:iam::000000000000:role/any",
        Code: { ZipFile: zipOf("index.js", CODE) },
      }),
    );
    run.leaves(
      `function ${FunctionName}`,
      async () => void (await client.send(new DeleteFunctionCommand({ FunctionName }))),
    );
    const active = await waitUntilFunctionActiveV2(
      { client, maxWaitTime: LIMIT, abortSignal: run.signal },
      { FunctionName },
    ).catch(() => undefined);
    if (!active) return fail(`the function did not become active in ${LIMIT} s`, HINT);
    const Payload = JSON.stringify({ name: run.name });
    const answer = await client.send(new InvokeCommand({ FunctionName, Payload }));
    const said = answer.Payload?.transformToString() ?? "";
    if (said !== JSON.stringify({ greeting: `hello ${run.name}` }))
      return fail(`it answered ${said.slice(0, 100)}`, HINT);
    return pass(`made, called in ${seconds(performance.now() - begun)}`);
  },
};

const HINT = "is the image of the runtime nodejs24.x there, and Docker well? docs/localstack.md#lambda";

/** LocalStack is told of a Docker only where functions run. */
const functionsRun = async (run: Run) => (await localstackEnvironment(run)).has("DOCKER_HOST");
