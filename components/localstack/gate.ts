import { isIP } from "node:net";
import { clientAddress, forwardedScheme, type GateWorld, listenLines, nginxMain, STRICT_TRANSPORT } from "../nginx.ts";
import { type LocalStackLayout, REFUSALS, STATE_FILES } from "./layout.ts";
import {
  type Answer,
  AWAY,
  answerLocations,
  REFUSAL_STATUS,
  refusalLocations,
  refusalMaps,
  refusalUri,
} from "./refusals.ts";
import { requestMaps, SERVICES } from "./requests.ts";
import { KEEP_ALIVE, transfer, upstream } from "./transfer.ts";

/** What this gate must know beyond its layout. */
export interface LocalStackGateOptions extends GateWorld {
  /** Address ranges (CIDR) of the home network. LocalStack asks for no login: everybody else is refused. */
  allowedRanges: string[];
  /** Name of the endpoint: a bucket's in front of it is one of S3's hosts. Defaults to none. */
  host?: string;
}

/**
 * nginx configuration of the gate, the only way to LocalStack. It lets the home network in, refuses what needs room while
 * storage has none, logs and counts. Everything else passes as it is, and no path is the gate's own: each may be a bucket.
 */
export function renderLocalStackGate(layout: LocalStackLayout, options: LocalStackGateOptions): string {
  const { loopback, localstackPort, uploadsPort } = layout;
  return nginxMain(layout, "gate", [
    transfer(),
    clientAddress(options.trustedProxies),
    homeNetwork(options.allowedRanges),
    bucketHosts(options.host),
    requestMaps(),
    refusalMaps(),
    decisions,
    upstream("localstack", `${loopback}:${localstackPort}`),
    // Uploads have a relay of their own, which is restarted to cut them at the limit.
    upstream("uploads", `${loopback}:${uploadsPort}`),
    logging(layout),
    frontServer(layout, options),
    metricsServer(layout),
  ]);
}

const homeNetwork = (allowedRanges: string[]) => `
geo $is_home {
${[...new Set(allowedRanges)].map((range) => `  ${range} 1;`).join("\n")}
}`;

/** What is no bucket's in front of the endpoint's name: services have hosts of their own, S3 Control one by account. */
const SERVICE_HOSTS = "[0-9]{12}|s3|sqs|sns|dynamodb|lambda|iam|sts|logs|events|cloudformation|api|queue";

/**
 * SDKs that are given one endpoint for all services ask for BUCKET.HOST, which LocalStack does not know: it would take the
 * key for a bucket's name (measured, 4.14: `PUT bucket.HOST/key` makes a bucket `key`). It is handed on as BUCKET.s3.HOST.
 * A signature was made for the other name, so with S3_SKIP_SIGNATURE_VALIDATION=0 presigned URLs need the `s3.` endpoint.
 */
function bucketHosts(host: string | undefined): string {
  if (!host || isIP(host)) return "map $http_host $host_of_service { default $http_host; }";
  const name = host.replaceAll(".", "[.]");
  return `map $http_host $host_of_service {
  default $http_host;
  "~*^(${SERVICE_HOSTS})[.]${name}(:[0-9]+)?$" $http_host;
  "~*^(?<bucket>[a-z0-9][a-z0-9-]*[a-z0-9])[.]${name}(?<bucket_port>:[0-9]+)?$" $bucket.s3.${host}$bucket_port;
}`;
}

/** `$no_room` is set when a request begins. */
const decisions = `
map "$no_room $form" $refusal {
  default "";
${REFUSALS.map((form) => `  "1 ${form}" ${refusalUri(form)};`).join("\n")}
}
map $s3_upload $backend { default localstack; 1 uploads; }
map $http_upgrade $upgrade { default ""; "~*^websocket$" $http_upgrade; }
map $upgrade $connection_header { default upgrade; "" ${KEEP_ALIVE}; }
${forwardedScheme}`;

/** The path without its query, which carries the signatures of presigned URLs. No header is logged that holds a credential. */
const logging = ({ accessLog, counters }: LocalStackLayout) => `
uninitialized_variable_warn off;
# Not $request_method, which is GET once an error page answers.
map $request $method { "~^(?<method_of_request>\\S+) " $method_of_request; }
map $request_uri $path { "~^(?<path_of_request>[^?]*)" $path_of_request; }
log_format access escape=json '{"time":"$time_iso8601","client":"$remote_addr","method":"$method",'
  '"host":"$http_host","path":"$path","target":"$http_x_amz_target","service":"$service","status":$status,'
  '"received":$request_length,"sent":$bytes_sent,"seconds":$request_time,"refused":"$refused",'
  '"agent":"$http_user_agent","id":"$request_id"}';
# An empty line an event: the file's size is the count.
log_format tick '';
access_log ${accessLog} access;
${counter(counters, "requests.2xx", "$status", "~^[123]")}
${counter(counters, "requests.4xx", "$status", "~^4")}
${counter(counters, "requests.5xx", "$status", "~^5")}
${SERVICES.map((service) => counter(counters, `requests.${service}`, "$service", service)).join("\n")}
${SERVICES.map((service) => counter(counters, `errors.${service}`, "$status $service", `~^5.. ${service}$`)).join("\n")}
${counter(counters, "refused", "$refused", "quota")}`;

/** A file of ticks, and when one is added. */
function counter(folder: string, name: string, value: string, pattern: string): string {
  const counted = `$counts_${name.replace(".", "_")}`;
  return `map "${value}" ${counted} { "${pattern}" 1; }
access_log ${folder}/${name} tick if=${counted};`;
}

const frontServer = (layout: LocalStackLayout, options: LocalStackGateOptions) => `
server {
  ${listenLines(layout, options)}
  # @away_s3 is an error page that has an error page of its own.
  recursive_error_pages on;
  ${options.hsts ? STRICT_TRANSPORT : ""}
  location / {
    set $no_room 0;
    if (-f ${layout.state}/${STATE_FILES.full}) { set $no_room 1; }
    if (-f ${layout.state}/${STATE_FILES.over}) { set $no_room 1; }
    # Codes that nobody else gives: LocalStack's own answers pass untouched.
    if ($is_home = "") { return 480; }
    if ($refusal = ${refusalUri("s3")}) { return 481; }
    if ($refusal) { return 482; }
    error_page 480 = @address_$answer_form;
    error_page 481 =${REFUSAL_STATUS.s3} $refusal;
    error_page 482 =${REFUSAL_STATUS.json} $refusal;
    error_page 502 504 = @away_$answer_form;
    proxy_pass http://$backend;
    proxy_set_header Host $host_of_service;
    proxy_set_header Connection $connection_header;
    proxy_set_header Upgrade $upgrade;
    proxy_set_header X-Forwarded-Proto ${options.tls ? "https" : "$forwarded_scheme"};
    proxy_set_header X-Forwarded-For $remote_addr;
  }
${refusalLocations(layout.state)}
${answerLocations("address", STRANGER)}
${answerLocations("away", awayOrCut(layout))}
}`;

const STRANGER: Answer = {
  status: 403,
  code: "AccessDenied",
  message:
    "the address $remote_addr is not in the ranges of the home network, which the setting localstack.allowedRanges names",
  type: "Sender",
};

/** Asked anew: an upload that was let in is cut when storage is full, and then this is why nobody answers it. */
const awayOrCut = ({ state }: LocalStackLayout): Answer => ({
  ...AWAY,
  before: (form) => [
    ...(form === "s3"
      ? [
          `error_page 481 =${REFUSAL_STATUS.s3} ${refusalUri("s3")};`,
          "set $was_cut 0;",
          `if (-f ${state}/${STATE_FILES.over}) { set $was_cut $s3_upload; }`,
          "if ($was_cut) { return 481; }",
        ]
      : []),
    ...(AWAY.before?.(form) ?? []),
  ],
});

const metricsServer = ({ metricsPort, state }: LocalStackLayout) => `
server {
  listen ${metricsPort};
  access_log off;
  default_type text/plain;
  location = /healthz {
    root ${state};
    default_type application/json;
    error_page 503 /${STATE_FILES.health};
    if (!-f ${state}/${STATE_FILES.healthy}) { return 503; }
    try_files /${STATE_FILES.health} =503;
  }
  location = /${STATE_FILES.health} {
    internal;
    root ${state};
    default_type application/json;
    # Not yet written.
    try_files $uri =503;
  }
  location = /metrics { root ${state}; try_files /${STATE_FILES.metrics} =503; }
  location / { return 404; }
}`;
