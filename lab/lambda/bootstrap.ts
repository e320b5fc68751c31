// What AWS's nodejs:24 image runs a function with, as far as trying one needs: it asks the Runtime API for invocations and
// calls the handler. Async handlers only, as on AWS since Node 24; no streaming, and no AWS SDK beside it.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
import { existsSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

type Handler = (event: unknown, context: object) => unknown;

const { AWS_LAMBDA_RUNTIME_API, LAMBDA_TASK_ROOT = "/var/task", _HANDLER = "" } = process.env;

async function main(): Promise<void> {
  let handler: Handler;
  try {
    handler = await load(_HANDLER);
  } catch (error) {
    await call("POST", "init/error", describe(error));
    process.exit(1);
  }
  for (;;) await serve(handler);
}

async function serve(handler: Handler): Promise<void> {
  const { headers, text } = await call("GET", "invocation/next");
  const id = String(headers["lambda-runtime-aws-request-id"]);
  try {
    const answer = await handler(JSON.parse(text), contextOf(headers, id));
    await call("POST", `invocation/${id}/response`, JSON.stringify(answer) ?? "null");
  } catch (error) {
    console.error(error);
    await call("POST", `invocation/${id}/error`, describe(error));
  }
}

/** `folder/file.name` is what the module LAMBDA_TASK_ROOT/folder/file exports as `name`. */
async function load(handler: string): Promise<Handler> {
  const dot = handler.lastIndexOf(".");
  const path = join(LAMBDA_TASK_ROOT, handler.slice(0, dot));
  const file = [".js", ".mjs", ".cjs"].map((extension) => path + extension).find(existsSync);
  if (dot < 1 || !file) throw named("Runtime.ImportModuleError", `Cannot find module '${handler.slice(0, dot)}'`);
  const module = await import(pathToFileURL(file).href);
  const name = handler.slice(dot + 1);
  const found = module[name] ?? module.default?.[name];
  if (typeof found !== "function") throw named("Runtime.HandlerNotFound", `${handler} is undefined or not exported`);
  return found;
}

function contextOf(headers: IncomingMessage["headers"], awsRequestId: string): object {
  const { env } = process;
  return {
    awsRequestId,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    getRemainingTimeInMillis: () => Number(headers["lambda-runtime-deadline-ms"]) - Date.now(),
  };
}

function named(name: string, message: string): Error {
  return Object.assign(new Error(message), { name });
}

function describe(error: unknown): string {
  const { name, message, stack = "" } = error instanceof Error ? error : new Error(String(error));
  return JSON.stringify({ errorType: name, errorMessage: message, trace: stack.split("\n") });
}

/** Not fetch: it gives up on `next` after five minutes, and the next invocation may come after hours. */
function call(method: string, path: string, body = ""): Promise<{ headers: IncomingMessage["headers"]; text: string }> {
  return new Promise((resolve, reject) => {
    const url = `http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/${path}`;
    const sent = request(url, { method, headers: { "Content-Length": Buffer.byteLength(body) } }, async (answer) => {
      try {
        const chunks: Buffer[] = [];
        for await (const chunk of answer) chunks.push(chunk);
        resolve({ headers: answer.headers, text: Buffer.concat(chunks).toString() });
      } catch (error) {
        reject(error);
      }
    });
    sent.on("error", reject).end(body);
  });
}

await main();
