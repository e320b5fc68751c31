// Makes a function from an archive, waits until it can be called, calls it, and prints its answer or how it ended.
import { readFileSync } from "node:fs";
import {
  CreateFunctionCommand,
  type CreateFunctionCommandInput,
  InvokeCommand,
  LambdaClient,
  waitUntilFunctionActiveV2,
} from "@aws-sdk/client-lambda";

const [name = "", archive = "", event = "{}"] = process.argv.slice(2);
const lambda = new LambdaClient();

if (archive !== "") {
  const input: CreateFunctionCommandInput = {
    FunctionName: name,
    Runtime: "nodejs24.x",
    Role: "arn:aws:iam::000000000000:role/any",
    Handler: "index.handler",
    Timeout: 30,
    Environment: { Variables: { STAGE: "home" } },
    Code: { ZipFile: readFileSync(archive) },
  };
  await lambda.send(new CreateFunctionCommand(input));
}
await waitUntilFunctionActiveV2({ client: lambda, maxWaitTime: 120 }, { FunctionName: name });
const { Payload, FunctionError } = await lambda.send(new InvokeCommand({ FunctionName: name, Payload: event }));
console.log(`${FunctionError ?? "answered"}: ${Payload?.transformToString()}`);
