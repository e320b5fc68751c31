import {
  CreateTableCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  waitUntilTableExists,
} from "@aws-sdk/client-dynamodb";

const TableName = process.argv[2];
const dynamodb = new DynamoDBClient();

await dynamodb.send(
  new CreateTableCommand({
    TableName,
    BillingMode: "PAY_PER_REQUEST",
    KeySchema: [
      { AttributeName: "customer", KeyType: "HASH" },
      { AttributeName: "order", KeyType: "RANGE" },
    ],
    AttributeDefinitions: [
      { AttributeName: "customer", AttributeType: "S" },
      { AttributeName: "order", AttributeType: "N" },
    ],
  }),
);
await waitUntilTableExists({ client: dynamodb, maxWaitTime: 30 }, { TableName });
for (const [order, sum] of Object.entries({ 16: "5", 17: "12.50", 18: "7" })) {
  const Item = { customer: { S: "ada" }, order: { N: order }, sum: { N: sum } };
  await dynamodb.send(new PutItemCommand({ TableName, Item }));
}

const Key = { customer: { S: "ada" }, order: { N: "17" } };
const { Item } = await dynamodb.send(new GetItemCommand({ TableName, Key }));
console.log(`17: ${Item?.sum?.N}`);
const { Items } = await dynamodb.send(
  new QueryCommand({
    TableName,
    KeyConditionExpression: "customer = :customer AND #order > :order",
    ExpressionAttributeNames: { "#order": "order" },
    ExpressionAttributeValues: { ":customer": { S: "ada" }, ":order": { N: "16" } },
  }),
);
console.log(`from 17 on: ${Items?.map((item) => item.sum?.N).join(", ")}`);
