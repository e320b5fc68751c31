import { quote } from "../nginx.ts";
import { REFUSALS, type Refusal, refusalFile } from "./layout.ts";

/** Where the figures go in a template. What is put there is written as it is: no `"`, `\`, `<` or `&`. */
export const MESSAGE = "{message}";

/**
 * What a write is told that storage has no room for, by the form of its service. No code is one that SDKs take for
 * throttling or for a wrong clock and try again (LimitExceededException and AccessDeniedException are).
 * Source: https://github.com/smithy-lang/smithy-typescript/blob/main/packages/service-error-classification/src/constants.ts
 */
export const REFUSAL_TEMPLATES: Record<Refusal, string> = {
  s3: xml("QuotaExceeded", MESSAGE),
  dynamodb: json({ __type: "com.amazonaws.dynamodb.v20120810#ServiceQuotaExceededException", message: MESSAGE }),
  sqs: json({ __type: "com.amazonaws.sqs#OverLimit", message: MESSAGE }),
  lambda: json({ Type: "User", message: MESSAGE }),
  json: json({ __type: "ServiceQuotaExceededException", message: MESSAGE }),
};

/** Status of each refusal. */
export const REFUSAL_STATUS: Record<Refusal, number> = { s3: 403, dynamodb: 400, sqs: 400, lambda: 400, json: 400 };

const CONTENT_TYPES: Record<Refusal, string> = {
  s3: "application/xml",
  dynamodb: "application/x-amz-json-1.0",
  sqs: "application/x-amz-json-1.0",
  lambda: "application/json",
  json: "application/x-amz-json-1.1",
};

/**
 * Folder of nginx' own locations. nginx resolves `/./` in what clients ask for before it looks for a location, so that no
 * request reaches them, and no bucket is hidden by them: one may be called `healthz`, `full.s3` or anything else.
 */
export const INTERNAL = "/./";

/** URI of a refusal, which nginx reads from the state folder. */
export const refusalUri = (form: Refusal): string => `${INTERNAL}${refusalFile(form)}`;

/** nginx locations that answer with the refusals, which the watch container writes. */
export function refusalLocations(state: string): string {
  const types = REFUSALS.map((form) => `${CONTENT_TYPES[form]} ${form};`);
  return `  location ^~ ${INTERNAL} {
    internal;
    root ${state};
    types { ${types.join(" ")} }
    etag off;
    if_modified_since off;
    max_ranges 0;
    set $refused quota;
    error_page 404 = @quota_$answer_form;
    add_header X-Content-Type-Options nosniff always;
    add_header x-amz-request-id $s3_request_id always;
    add_header x-amzn-RequestId $json_request_id always;
    add_header x-amzn-ErrorType $refusal_type always;
    add_header x-amzn-query-error $refusal_query_error always;
  }
${answerLocations("quota", UNEXPLAINED)}`;
}

/** How AWS writes its errors, by the kind of service that is asked. */
const ANSWER_FORMS = ["s3", "query", "json"] as const;
type AnswerForm = (typeof ANSWER_FORMS)[number];

const ANSWER_TYPES: Record<AnswerForm, string> = {
  s3: "application/xml",
  query: "text/xml",
  json: "application/x-amz-json-1.1",
};

/** An answer that is the same at every time. The message may hold nginx variables. */
export interface Answer {
  status: number;
  code: string;
  message: string;
  /** Who is to blame, in the words of the query protocol. */
  type: "Sender" | "Receiver";
  /** Lines of nginx before the answer is given, for one form only where it is named. */
  before?: (form: AnswerForm) => string[];
}

/** LocalStack starts, or has ended. */
export const AWAY: Answer = {
  status: 503,
  code: "ServiceUnavailable",
  message: "LocalStack does not answer: it starts, or has ended; try again in a few seconds",
  type: "Receiver",
  before: () => ["add_header Retry-After 5 always;"],
};

/** A refusal whose file is missing. */
const UNEXPLAINED: Answer = { status: 403, code: "QuotaExceeded", message: "storage is full", type: "Sender" };

/** nginx locations `@name_FORM`, one for each form: `error_page … = @name_$answer_form`. */
export function answerLocations(name: string, answer: Answer): string {
  return ANSWER_FORMS.map(
    (form) => `  location @${name}_${form} {
    types {}
    default_type ${ANSWER_TYPES[form]};
    set $refused ${name};
    add_header X-Content-Type-Options nosniff always;
    add_header ${form === "s3" ? "x-amz-request-id" : "x-amzn-RequestId"} $request_id always;
${[...(answer.before?.(form) ?? []), `return ${answer.status} ${body(form, answer)};`].map((line) => `    ${line}`).join("\n")}
  }`,
  ).join("\n");
}

function body(form: AnswerForm, { code, message, type }: Answer): string {
  const texts: Record<AnswerForm, string> = {
    s3: xml(code, message),
    query: `<ErrorResponse><Error><Type>${type}</Type><Code>${code}</Code><Message>${message}</Message></Error></ErrorResponse>`,
    json: json({ __type: code, message }),
  };
  // A variable of nginx is meant here, and nothing of it comes from outside but an address.
  return texts[form].includes("$") ? `'${texts[form]}'` : quote(texts[form]);
}

function xml(code: string, message: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`;
}

function json(error: Record<string, string>): string {
  return JSON.stringify(error);
}

/** nginx maps that refusals and answers need, from `$form` and `$service`. */
export const refusalMaps = (): string => `
# The errors of AWS have three forms: S3's, that of the query protocol (SNS, IAM, STS), and JSON.
map "$service $content_type $args" $answer_form {
  default json;
  "~^s3 " s3;
  "~*^\\S+ application/x-www-form-urlencoded" query;
  "~^\\S+ .*[ &]Action=" query;
}
map $form $s3_request_id { s3 $request_id; }
map $form $json_request_id { "" ""; s3 ""; default $request_id; }
map $form $refusal_type { lambda CodeStorageExceededException; }
map $form $refusal_query_error { sqs "OverLimit;Sender"; }`;
