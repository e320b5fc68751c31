import {
  BODY_STEP,
  clientAddress,
  forwardedScheme,
  type GateWorld,
  listenLines,
  nginxMain,
  quoteExactly,
  securityHeaders,
} from "../nginx.ts";
import { registryErrorJson } from "./errors.ts";
import { type Layout, STATE_FILES } from "./layout.ts";
import { MAINTENANCE_ANSWER } from "./writes.ts";

/** What this gate must know beyond its layout. */
export interface GateOptions extends GateWorld {
  /** User who may write. Everybody else who logs in only reads. */
  writer: string;
}

/** How long a login that was right is remembered: bcrypt of cost 12 takes a quarter of a second. */
const LOGIN_MEMORY = "5m";

/** A layer of 10 GB is hashed again when its upload ends, and the client hears nothing meanwhile. */
const LONGEST_SILENCE = "15m";

/**
 * nginx configuration of the gate, the only way into the registry. It checks logins (once in five minutes), knows the two
 * roles, refuses writes over the quota and during maintenance, limits, logs and counts.
 */
export function renderGate(layout: Layout, options: GateOptions): string {
  return nginxMain(layout, "gate", [
    transfer(),
    clientAddress(options.trustedProxies),
    limits(),
    decisions(options.writer),
    upstreams(layout),
    logging(layout),
    loginCache(layout),
    loginLimits(layout),
    frontServer(layout, options),
    answerServers(layout),
    metricsServer(layout),
  ]);
}

/** Bodies stream through in both directions: a layer is never stored in the gate. */
const transfer = () => `
client_max_body_size 0;
client_body_timeout 300s;
send_timeout 300s;
client_header_buffer_size 4k;
# The state of an upload travels in its URL and, with a long repository name, passes 4k.
large_client_header_buffers 4 32k;
keepalive_timeout 75s;
keepalive_requests 100000;
# How much of an upload is handed on at a time: fewer and larger steps than the default's 16k.
client_body_buffer_size ${BODY_STEP};
proxy_http_version 1.1;
proxy_request_buffering off;
proxy_buffering on;
# For each transfer to a slow client, and there may be hundreds: 150 stalled pulls with 8 buffers of 128k took 174 MiB.
proxy_buffers 4 32k;
proxy_buffer_size 16k;
proxy_busy_buffers_size 64k;
proxy_max_temp_file_size 0;
proxy_connect_timeout 5s;
proxy_read_timeout ${LONGEST_SILENCE};
proxy_send_timeout 300s;
proxy_next_upstream off;`;

/** Far above a busy CI (100 pushes at once are 900 requests in a second), far below what exhausts the gate. */
const limits = () => `
limit_req_zone $binary_remote_addr zone=requests:2m rate=2000r/s;
limit_conn_zone $binary_remote_addr zone=connections:2m;
limit_req_status 429;
limit_conn_status 429;`;

/**
 * Who may do what. Flags are set in the rewrite phase, which runs before the login is checked; the upstream is chosen in
 * the content phase, after it, so nothing about quota or roles is told to a stranger. Names compare by regex, because
 * plain keys of an nginx map ignore case.
 */
const decisions = (writer: string) => `
map $request_method $is_write { default 1; GET 0; HEAD 0; OPTIONS 0; }
map $remote_user $is_writer { default 0; ${quoteExactly(writer)} 1; }
# In the reserve (full) no upload begins, and those under way end, with the manifest that makes an image of them; at the
# limit (over) only deletes go on.
map "$is_write$is_writer $request_method $maintenance$over$full" $backend {
  default writes;
  "~^0" registry;
  "~^10" denied;
  "~^11 \\S+ 1" maintenance;
  "~^11 DELETE" writes;
  "~^11 \\S+ .1" full;
  "~^11 POST ..1" full;
}`;

const upstreams = ({ loopback, registryPort, writesPort, loginPort, tmp }: Layout) => `
upstream registry { server ${loopback}:${registryPort}; keepalive 64; }
# Writes have a relay of their own, which the quota container restarts to cut them at the limit.
upstream writes { server ${loopback}:${writesPort}; keepalive 64; }
upstream login { server ${loopback}:${loginPort}; keepalive 4; }
upstream login_limits { server unix:${tmp}/gate-login.sock; keepalive 4; }
upstream denied { server unix:${tmp}/gate-denied.sock; keepalive 4; }
upstream full { server unix:${tmp}/gate-full.sock; keepalive 4; }
upstream maintenance { server unix:${tmp}/gate-maintenance.sock; keepalive 4; }`;

/** $uri, not the request's line: the query carries the state of an upload. No header is logged that holds a credential. */
const logging = ({ accessLog, counters }: Layout) => `
log_format access escape=json '{"time":"$time_iso8601","client":"$remote_addr","user":"$remote_user",'
  '"method":"$request_method","path":"$uri","status":$status,"received":$request_length,"sent":$bytes_sent,'
  '"seconds":$request_time,"backend":"$backend","agent":"$http_user_agent","id":"$request_id"}';
# An empty line an event: the file's size is the count.
log_format tick '';
map $status $class_2xx { "~^[123]" 1; }
map $status $class_4xx { "~^4" 1; }
map $status $class_5xx { "~^5" 1; }
access_log ${accessLog} access;
access_log ${counters}/requests.2xx tick if=$class_2xx;
access_log ${counters}/requests.4xx tick if=$class_4xx;
access_log ${counters}/requests.5xx tick if=$class_5xx;`;

/** The files of the cache hold Authorization headers: they live in this container's memory only. */
const loginCache = ({ tmp }: Layout) => `
proxy_cache_path ${tmp}/logins levels=1 keys_zone=logins:1m max_size=8m inactive=${LOGIN_MEMORY} use_temp_path=off;`;

/**
 * Between the memory of logins and bcrypt, so that only wrong logins and first ones are counted. The limits stand here and
 * not in the login check: that one is blocked while it hashes, takes requests from its queue at bcrypt's own pace, and so
 * would never see a rate above it (measured: 120 wrong logins in 4 s, none refused, the last answered after 80 s).
 */
const loginLimits = ({ tmp, counters }: Layout) => `
limit_req_zone "$http_x_client_address $remote_user" zone=logins_of_user:2m rate=2r/s;
limit_req_zone $http_x_client_address zone=logins_of_address:2m rate=2r/s;
limit_req_zone $server_name zone=logins_in_total:32k rate=4r/s;
limit_conn_zone $server_name zone=logins_at_once:32k;
map $status $failed_login { 401 1; 429 1; }
server {
  listen unix:${tmp}/gate-login.sock;
  server_name login;
  access_log ${counters}/logins.failed tick if=$failed_login;
  location / {
    limit_req zone=logins_of_user burst=5 nodelay;
    # One address cannot use up what all have together, by names that nobody has.
    limit_req zone=logins_of_address burst=8 nodelay;
    limit_req zone=logins_in_total burst=16 nodelay;
    limit_conn logins_at_once 4;
    proxy_read_timeout 20s;
    proxy_pass http://login;
    proxy_set_header Connection "";
  }
}`;

const frontServer = (layout: Layout, options: GateOptions) => `
server {
  ${listenLines(layout, options)}
  server_tokens off;
  default_type application/json;
  # @unavailable is an error page that has an error page of its own.
  recursive_error_pages on;
  limit_req zone=requests burst=4000 nodelay;
  limit_conn connections 1000;
  set $full 0;
  set $over 0;
  set $maintenance 0;
  if (-f ${layout.state}/${STATE_FILES.full}) { set $full 1; }
  if (-f ${layout.state}/${STATE_FILES.over}) { set $over 1; }
  if (-f ${layout.state}/${STATE_FILES.maintenance}) { set $maintenance 1; }
  ${headers(options)}
${healthLocation(layout)}
  location / {
    # Every client asks once without a login, to learn how to log in: answered here, before any limit.
    if ($http_authorization = "") { return 401; }
    auth_request /_login;
    auth_request_set $login_status $upstream_status;
    error_page 401 = @login_required;
    error_page 500 = @login_unchecked;
    error_page 502 504 = @unavailable;
    error_page 429 = @too_many;
    proxy_pass http://$backend;
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
    proxy_set_header X-Forwarded-Proto ${options.tls ? "https" : "$forwarded_scheme"};
    proxy_set_header X-Forwarded-For $remote_addr;
    # The login ends here; the registry behind needs none and logs what it gets.
    proxy_set_header Authorization "";
    proxy_hide_header X-Content-Type-Options;
  }
${loginLocation}
${namedAnswers(layout, headers(options))}
}
${options.tls ? "" : forwardedScheme}`;

const headers = (options: GateOptions) =>
  securityHeaders("default-src 'none'; frame-ancestors 'none'", options).join("\n  ");

/**
 * Remembers a yes, and only a yes. The lock lets one of many equal logins that start at once through to bcrypt, the others
 * wait for its yes: without it 60 clients that start together ask for 60 hashes of a quarter second each.
 */
const loginLocation = `  location = /_login {
    internal;
    proxy_pass http://login_limits/;
    proxy_method GET;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
    proxy_set_header Connection "";
    proxy_set_header X-Client-Address $remote_addr;
    proxy_cache logins;
    proxy_cache_key $http_authorization;
    proxy_cache_valid 204 ${LOGIN_MEMORY};
    # Whoever was in stays in while the login check is busy, refuses for its rate or is away: a yes is never wrong, because
    # another htpasswd comes with another pod.
    proxy_cache_use_stale updating error timeout http_429 http_500 http_502 http_503 http_504;
    proxy_read_timeout 20s;
    proxy_cache_lock on;
    proxy_cache_lock_timeout 10s;
    proxy_cache_lock_age 10s;
  }`;

const healthLocation = ({ state }: Layout) => `  location = /healthz {
    access_log off;
    root ${state};
    error_page 503 /${STATE_FILES.health};
    if (!-f ${state}/${STATE_FILES.healthy}) { return 503; }
    try_files /${STATE_FILES.health} =503;
  }
  location = /${STATE_FILES.health} { internal; root ${state}; }`;

/** nginx adds no header of the server where a location has one of its own: they are repeated. */
const namedAnswers = ({ state }: Layout, headers: string) => `  location @login_required {
    ${headers}
    # After a wrong login, auth_request has already copied the login check's WWW-Authenticate.
    add_header WWW-Authenticate $challenge always;
    add_header Docker-Distribution-Api-Version registry/2.0 always;
    return 401 ${registryErrorJson("UNAUTHORIZED", "authentication required: log in with a user of this registry")};
  }
  location @login_unchecked {
    ${headers}
    add_header Retry-After 10 always;
    if ($login_status = 429) { return 429 ${registryErrorJson("TOOMANYREQUESTS", "too many failed logins: wait a few seconds, then check the password")}; }
    return 503 ${registryErrorJson("UNAVAILABLE", "the login check does not answer; try again in a few seconds")};
  }
  location @too_many {
    ${headers}
    add_header Retry-After 1 always;
    return 429 ${registryErrorJson("TOOMANYREQUESTS", "too many requests from this address; try again in a second")};
  }
  location @unavailable {
    ${headers}
    add_header Retry-After 5 always;
    root ${state};
    error_page 403 /${STATE_FILES.fullAnswer};
    # Asked anew: the flags tell how it was when the upload began, and the relay is cut when that has changed.
    set $was_cut 0;
    if (-f ${state}/${STATE_FILES.over}) { set $was_cut $is_write; }
    if ($was_cut) { return 403; }
    return 503 ${registryErrorJson("UNAVAILABLE", "the registry does not answer; try again in a few seconds")};
  }
  location = /${STATE_FILES.fullAnswer} { internal; root ${state}; }`;

/** One answer each, behind a socket of its own: only `proxy_pass` decides after the login. */
const answerServers = ({ tmp, state }: Layout) => `
map $http_authorization $challenge { "" 'Basic realm="Registry"'; }
server {
  listen unix:${tmp}/gate-denied.sock;
  access_log off;
  default_type application/json;
  return 403 ${registryErrorJson("DENIED", "this user may only pull: log in as the user who pushes")};
}
server {
  listen unix:${tmp}/gate-full.sock;
  access_log off;
  default_type application/json;
  root ${state};
  error_page 403 /${STATE_FILES.fullAnswer};
  location / { return 403; }
  location = /${STATE_FILES.fullAnswer} { internal; }
}
server {
  listen unix:${tmp}/gate-maintenance.sock;
  access_log off;
  default_type application/json;
  add_header Retry-After 30 always;
  return 503 ${MAINTENANCE_ANSWER};
}`;

const metricsServer = (layout: Layout) => `
server {
  listen ${layout.metricsPort};
  access_log off;
  default_type text/plain;
${healthLocation(layout)}
  location = /metrics { root ${layout.state}; try_files /${STATE_FILES.metrics} =503; }
  location = /metrics/registry { proxy_pass http://${layout.loopback}:${layout.registryDebugPort}/metrics; }
  location / { return 404; }
}`;
