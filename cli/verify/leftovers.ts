import { removeBucket } from "./buckets.ts";
import { PREFIX, type Run } from "./run.ts";

/** Seconds after which a run has ended, or was killed. */
const LONGEST_RUN = 3600;

/** Whether this is the name of something that a run has made which is not under way any more. */
export function isLeftover(name: string, now: Date): boolean {
  const began = Number(new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1] ?? Number.NaN);
  return now.getTime() / 1000 - began > LONGEST_RUN;
}

/** Something that may have been left, and how it is removed. */
interface Found {
  name: string;
  remove(): Promise<unknown>;
}

/** Removes namespaces that killed runs have left. */
export async function removeNamespaces({ kube }: Run): Promise<string[]> {
  const namespaces = await kube.ask("the namespaces", kube.core.listNamespace());
  const names = (namespaces?.items ?? []).map(({ metadata }) => metadata?.name ?? "");
  return await removeAll(names.map((name) => ({ name, remove: () => kube.core.deleteNamespace({ name }) })));
}

/** Removes what killed runs have left in LocalStack. */
export async function removeFromLocalStack(run: Run): Promise<string[]> {
  const found = await Promise.all([buckets(run), queues(run), topics(run), tables(run), functions(run)]);
  return await removeAll(found.flat());
}

async function removeAll(found: Found[]): Promise<string[]> {
  const old = found.filter(({ name }) => isLeftover(name, new Date()));
  for (const { remove } of old) await remove();
  return old.map(({ name }) => name);
}

async function buckets(run: Run): Promise<Found[]> {
  const { ListBucketsCommand, S3Client } = await import("@aws-sdk/client-s3");
  const { options, s3Endpoint } = await run.aws();
  const { Buckets = [] } = await new S3Client({ ...options, endpoint: s3Endpoint }).send(new ListBucketsCommand({}));
  return Buckets.map(({ Name: name = "" }) => ({ name, remove: () => removeBucket(run, name) }));
}

async function queues(run: Run): Promise<Found[]> {
  const { DeleteQueueCommand, ListQueuesCommand, SQSClient } = await import("@aws-sdk/client-sqs");
  const client = new SQSClient((await run.aws()).options);
  const { QueueUrls = [] } = await client.send(new ListQueuesCommand({ QueueNamePrefix: PREFIX }));
  return QueueUrls.map((QueueUrl) => ({
    name: lastOf(QueueUrl, "/"),
    remove: () => client.send(new DeleteQueueCommand({ QueueUrl })),
  }));
}

async function topics(run: Run): Promise<Found[]> {
  const { DeleteTopicCommand, paginateListTopics, SNSClient } = await import("@aws-sdk/client-sns");
  const client = new SNSClient((await run.aws()).options);
  const found: Found[] = [];
  for await (const { Topics = [] } of paginateListTopics({ client }, {})) {
    for (const { TopicArn = "" } of Topics) {
      found.push({ name: lastOf(TopicArn, ":"), remove: () => client.send(new DeleteTopicCommand({ TopicArn })) });
    }
  }
  return found;
}

async function tables(run: Run): Promise<Found[]> {
  const { DeleteTableCommand, DynamoDBClient, paginateListTables } = await import("@aws-sdk/client-dynamodb");
  const client = new DynamoDBClient((await run.aws()).options);
  const found: Found[] = [];
  for await (const { TableNames = [] } of paginateListTables({ client }, {})) {
    for (const name of TableNames) {
      found.push({ name, remove: () => client.send(new DeleteTableCommand({ TableName: name })) });
    }
  }
  return found;
}

async function functions(run: Run): Promise<Found[]> {
  const { DeleteFunctionCommand, LambdaClient, paginateListFunctions } = await import("@aws-sdk/client-lambda");
  const client = new LambdaClient((await run.aws()).options);
  const found: Found[] = [];
  for await (const { Functions = [] } of paginateListFunctions({ client }, {})) {
    for (const { FunctionName: name = "" } of Functions) {
      found.push({ name, remove: () => client.send(new DeleteFunctionCommand({ FunctionName: name })) });
    }
  }
  return found;
}

const lastOf = (text: string, separator: string): string => text.slice(text.lastIndexOf(separator) + 1);
