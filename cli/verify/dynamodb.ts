import { NO_LOCALSTACK } from "./aws.ts";
import { type Criterion, fail, notMeasured, pass, seconds } from "./criterion.ts";
import { PREFIX } from "./run.ts";

export const dynamodb: Criterion = {
  id: "dynamodb",
  title: "DynamoDB with the AWS SDK",
  limit: "put and get an item",
  measure: async (run) => {
    if (!run.deployment.localstack) return notMeasured(NO_LOCALSTACK);
    const {
      CreateTableCommand,
      DeleteTableCommand,
      DynamoDBClient,
      GetItemCommand,
      PutItemCommand,
      waitUntilTableExists,
    } = await import("@aws-sdk/client-dynamodb");
    const { options } = await run.aws();
    const client = new DynamoDBClient(options);
    const begun = performance.now();
    const TableName = PREFIX + run.name;
    await client.send(
      new CreateTableCommand({
        TableName,
        BillingMode: "PAY_PER_REQUEST",
        AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
        KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
      }),
    );
    run.leaves(`table ${TableName}`, async () => void (await client.send(new DeleteTableCommand({ TableName }))));
    await waitUntilTableExists({ client, maxWaitTime: 30, minDelay: 1, abortSignal: run.signal }, { TableName });
    const Key = { id: { S: "item" } };
    await client.send(new PutItemCommand({ TableName, Item: { ...Key, content: { S: run.name } } }));
    const { Item } = await client.send(new GetItemCommand({ TableName, Key, ConsistentRead: true }));
    if (Item?.content?.S !== run.name) return fail("the item came back with other content");
    return pass(`put, got in ${seconds(performance.now() - begun)}`);
  },
};
