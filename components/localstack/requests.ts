/**
 * How the gate tells requests apart, by what stands before the body: which service, and whether what it writes needs
 * room. As LocalStack finds the service:
 * https://github.com/localstack/localstack/blob/v4.14.0/localstack-core/localstack/aws/protocol/service_router.py
 */

/** Services that are counted by their names. */
export const SERVICES = ["s3", "sqs", "sns", "dynamodb", "lambda", "other"] as const;

/** First words of operations that store something, in services that name the operation in a header (X-Amz-Target). */
export const WRITE_VERBS = [
  "Put",
  "Create",
  "Send",
  "Publish",
  "Import",
  "Restore",
  "Upload",
  "Start",
  "Export",
  "Copy",
];

/** Operations that store something and begin otherwise. */
export const WRITE_OPERATIONS = ["UpdateItem", "BatchWriteItem", "TransactWriteItems", "BatchPut\\w+"];

/** Operations that begin like a write, and free room or only read. */
export const FREE_OPERATIONS = [
  "PutRetentionPolicy",
  "PutLifecyclePolicy",
  "PutDeletionProtection",
  "SendTaskSuccess",
  "SendTaskFailure",
  "SendTaskHeartbeat",
  "StartQuery",
  "StartLiveTail",
];

/** What of Lambda's API stores code: method and path. */
export const CODE_WRITES = [
  "POST /2015-03-31/functions/?",
  "PUT /2015-03-31/functions/[^/]+/code/?",
  "POST /2015-03-31/functions/[^/]+/versions/?",
  "POST /2018-10-31/layers/[^/]+/versions/?",
];

/** PUT and POST of S3 that free room or only read: method, argument, and whether only of a bucket (a key ignores it). */
export const FREE_S3_REQUESTS: readonly { method: string; argument: string; ofBucket: boolean; what: string }[] = [
  { method: "POST", argument: "delete", ofBucket: false, what: "DeleteObjects" },
  { method: "POST", argument: "select", ofBucket: false, what: "SelectObjectContent" },
  { method: "PUT", argument: "lifecycle", ofBucket: true, what: "PutBucketLifecycleConfiguration" },
];

/**
 * What goes on while storage has no room, for the documentation: everything that is not a write, and the writes that
 * cannot be told from their headers.
 */
export const PASSES_OVER_QUOTA: readonly { service: string; passes: string }[] = [
  { service: "every service", passes: "every GET, HEAD, OPTIONS, PATCH and DELETE; WebSockets" },
  { service: "every service", passes: "LocalStack's own pages under /_localstack and /_aws" },
  {
    service: "S3",
    passes: `${FREE_S3_REQUESTS.map(({ what }) => what).join(", ")}; DeleteObject, DeleteBucket, AbortMultipartUpload; S3 Control`,
  },
  {
    service: "services with X-Amz-Target or a CBOR path (SQS, DynamoDB, Logs, Events, Kinesis, Secrets Manager, …)",
    passes: `operations that begin with none of ${WRITE_VERBS.join(", ")} and are none of UpdateItem, BatchWriteItem, TransactWriteItems, BatchPut…: reads, deletes, Receive, Purge, Tag, Set, Add, Register, Update of settings (UpdateTable, UpdateTimeToLive, UpdateSecret)`,
  },
  { service: "the same", passes: FREE_OPERATIONS.join(", ") },
  { service: "DynamoDB", passes: "PartiQL: ExecuteStatement, BatchExecuteStatement, ExecuteTransaction" },
  {
    service: "Lambda",
    passes:
      "invocations, function URLs, configuration, aliases, event source mappings, concurrency, permissions, tags: all but CreateFunction, UpdateFunctionCode, PublishVersion and PublishLayerVersion",
  },
  {
    service: "the query protocol (SNS, IAM, STS, CloudFormation, CloudWatch, SQS of older clients)",
    passes: "everything: the operation stands in the body",
  },
  { service: "other REST services (API Gateway, EventBridge Scheduler and Pipes, Route 53, …)", passes: "everything" },
  {
    service: "deployed APIs (execute-api, /restapis/…/_user_request_)",
    passes: "everything, and what they store in turn",
  },
  { service: "inside LocalStack", passes: "what functions, subscriptions and event sources write without the gate" },
];

const anyOf = (words: readonly string[]) => words.join("|");

const has = (argument: string) => `(.*&)?${argument}(=|&|$)`;

/** Subresources of S3 by which a POST that nobody signed is one of S3's. */
const S3_POSTS = ["uploads", "uploadId", "restore", "select", "delete"];

/**
 * nginx maps: `$service` (of SERVICES), `$s3_upload` (1 for what passes the relay) and `$form` (of refusal, empty for what
 * goes on while storage is full). Keys with variables are composed so that one regular expression decides.
 */
export const requestMaps = (): string => `
# SigV4, SigV4A (which has no region) and SigV2 in the header; the credential's fourth part is the service.
map $http_authorization $signed_for {
  default "";
  "~*^AWS4-\\S+ .*Credential=\\"?[^/,]*/[^/,]*/[^/,]*/(?<signed_service>[^/,]+)/" $signed_service;
  "~*^AWS4-\\S+ .*Credential=\\"?[^/,]*/[^/,]*/(?<signed_service_4a>[^/,]+)/" $signed_service_4a;
  "~*^AWS " s3;
}
# The same in the query.
map $args $presigned_for {
  default "";
  "~*(^|&)X-Amz-Credential=[^&]*(%2F|/)(?<presigned_service>[a-z0-9-]+)(%2F|/)aws4_request" $presigned_service;
  "~(^|&)AWSAccessKeyId=" s3;
}
# An operation named in a header, or in the path (CBOR).
map $http_x_amz_target $target_service {
  "" "";
  "~^DynamoDB" dynamodb;
  "~^AmazonSQS\\." sqs;
  "~^AmazonSNS\\." sns;
  default other;
}
map "$http_smithy_protocol $uri" $cbor_operation {
  default "";
  "~^rpc-v2-cbor.* .*/service/[^/]+/operation/(?<rpc_operation>[^/]+)/?$" $rpc_operation;
}
map $cbor_operation $cbor_service { "" ""; default other; }
map $http_x_amz_target $operation {
  "" $cbor_operation;
  "~^[^.]*\\.(?<target_operation>.+)$" $target_operation;
  default $http_x_amz_target;
}
# Paths that are LocalStack's own or S3 Control's, whoever signed; then those that say a service where nothing else does.
map $uri $reserved {
  default "";
  "~^/_(localstack|aws)(/|$)" other;
  "~^/v20180820/" other;
}
map $uri $service_of_path {
  default "";
  "~^/20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]/(functions|layers|event-source-mappings|code-signing-configs|account-settings|tags)(/|$)" lambda;
  "~^/20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]/" other;
  "~^/restapis/[^/]+/[^/]+/_user_request_(/|$)" other;
  "~^/(queue/[^/]+/)?[0-9]{12}/[A-Za-z0-9_-]+(\\.fifo)?$" sqs;
  "~^/_" other;
}
# Deployed APIs are called at hosts of their own.
map $http_host $called_host {
  default "";
  "~*\\.lambda-url\\." lambda;
  "~*\\.(execute-api|appsync-api|cloudfront)\\." other;
}
map $host_of_service $s3_host { default ""; "~*(^|\\.)s3\\." s3; }
# A request that nobody signed: a form of the query protocol, a browser's form, or an anonymous one of S3.
map "$request_method $content_type $args" $unsigned_service {
  default s3;
  "~[ &]Action=" other;
  "~*^POST multipart/form-data" s3;
  "~^POST .* ${has(`(${anyOf(S3_POSTS)})`)}" s3;
  "~^POST " other;
}
map "$reserved,$called_host,$signed_for,$presigned_for,$target_service,$cbor_service" $first_sign {
  default "";
  "~^,*(?<sign>[^,]+)" $sign;
}
map "$first_sign,$s3_host,$service_of_path,$unsigned_service" $found_service {
  "~^,*(?<found>[^,]+)" $found;
}
map $found_service $service {
  default other;
  s3 s3;
  s3express s3;
  sqs sqs;
  sns sns;
  dynamodb dynamodb;
  lambda lambda;
}

map "$host_of_service $uri" $of_bucket {
  default 0;
  "~*^\\S+\\.s3\\.\\S* /$" 1;
  "~*^\\S+\\.s3\\.\\S* " 0;
  "~^\\S* /[^/]+/?$" 1;
}
map "$request_method$of_bucket $args" $is_free_s3 {
  default 0;
${FREE_S3_REQUESTS.map(({ method, argument, ofBucket }) => `  "~^${method}${ofBucket ? "1" : "."} ${has(argument)}" 1;`).join("\n")}
}
map "$service $request_method$is_free_s3" $s3_upload { default 0; "~^s3 (PUT|POST)0$" 1; }

map $operation $stores {
  default 0;
  "~^(${anyOf(FREE_OPERATIONS)})$" 0;
  "~^(${anyOf(WRITE_VERBS)})" 1;
  "~^(${anyOf(WRITE_OPERATIONS)})$" 1;
}
map "$request_method $uri" $stores_code {
  default 0;
${CODE_WRITES.map((write) => `  "~^${write}$" 1;`).join("\n")}
}
map "$service $s3_upload$stores_code$stores $request_method $http_x_amz_target" $form {
  default "";
  "~^s3 1" s3;
  "~^s3 " "";
  "~^lambda .1" lambda;
  "~^\\S+ ..1 POST DynamoDB_20120810\\." dynamodb;
  "~^\\S+ ..1 POST AmazonSQS\\." sqs;
  "~^\\S+ ..1 POST " json;
}`;
