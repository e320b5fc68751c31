// One of everything, by one name: bucket, queue, topic that leads to the queue, table.
import { CreateTableCommand, DynamoDBClient, waitUntilTableExists } from "@aws-sdk/client-dynamodb";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { CreateTopicCommand, SNSClient, SubscribeCommand } from "@aws-sdk/client-sns";
import { CreateQueueCommand, GetQueueAttributesCommand, SQSClient } from "@aws-sdk/client-sqs";

const [name = ""] = process.argv.slice(2);
const [s3, sqs, sns, dynamodb] = [new S3Client(), new SQSClient(), new SNSClient(), new DynamoDBClient()];

await s3.send(new CreateBucketCommand({ Bucket: name }));
const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: name }));
const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["QueueArn"] }));
const { TopicArn } = await sns.send(new CreateTopicCommand({ Name: name }));
await sns.send(new SubscribeCommand({ TopicArn, Protocol: "sqs", Endpoint: Attributes?.QueueArn }));
await dynamodb.send(
  new CreateTableCommand({
    TableName: name,
    KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
    AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
    BillingMode: "PAY_PER_REQUEST",
  }),
);
await waitUntilTableExists({ client: dynamodb, maxWaitTime: 60 }, { TableName: name });
console.log(TopicArn);
