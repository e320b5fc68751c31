/**
 * LocalStack's server (Twisted) closes a connection that was idle for 60 s; a request that is sent at that moment is lost.
 * Half a second is enough for requests that follow each other, a new connection on loopback costs 0.1 ms, and a server
 * that closes sooner (`GATEWAY_SERVER=hypercorn` does after 5 s) is safe too.
 */
const IDLE = "500ms";

/** An invocation may take 15 minutes once its image has been fetched, and a WebSocket be silent. LocalStack ends neither. */
const LONGEST_SILENCE = "1h";

/**
 * How much of a body is handed on at a time. Measured with LocalStack 4.14 on two busy processors, against no gate: a PUT
 * of 64 MiB took 9 % longer and a GET as long (half of this: 9 and 5 %; a quarter: 30 and 45 %). It is memory that each
 * transfer holds: 200 stalled uploads took 52 MiB in each of the two containers.
 */
const UPLOAD_STEP = "256k";
const DOWNLOAD_STEP = "128k";

/** What LocalStack sends of its own and nginx would keep for itself. */
const KEPT_BY_NGINX = [
  ...["Date", "Server", "X-Pad"],
  ...["X-Accel-Expires", "X-Accel-Redirect", "X-Accel-Limit-Rate", "X-Accel-Buffering", "X-Accel-Charset"],
];

/** What nginx would obey instead of passing it on only. */
const OBEYED_BY_NGINX = [
  ...["X-Accel-Redirect", "X-Accel-Expires", "X-Accel-Limit-Rate", "X-Accel-Buffering", "X-Accel-Charset"],
  ...["Expires", "Cache-Control", "Set-Cookie", "Vary"],
];

/**
 * Requests and answers pass as they are, as they come, for as long as they take, in the gate and in the relay.
 *
 * What nginx answers itself, because it cannot pass it on (measured, 1.22 and 1.30):
 * - 400: a path that leads above the root (`/..`, `/a/../../b`), `%00`, a `%` without two hex digits, a space or control
 *   character in the line or in a header's name, NUL in a value, a method that is not of capitals, `_` and `-`;
 * - 400: two Content-Length, Host, Authorization, Expect, Transfer-Encoding, Content-Range, If-Match, If-None-Match,
 *   If-Range, If-Modified-Since or If-Unmodified-Since; Content-Length beside Transfer-Encoding; HTTP/1.1 without Host;
 * - 400: `OPTIONS *`; 405: TRACE; 400 (1.22) or 405 (1.30): CONNECT; 501: a Transfer-Encoding other than chunked;
 * - 414 and 400: a line or a header of more than 64k. (LocalStack itself answers 431 a little above that.)
 * What does not reach the other side: Expect (nginx sends the 100 itself, when it begins to take the body), TE, Keep-Alive,
 * Upgrade to anything but a WebSocket, trailers after a chunked body, where its chunks end (one that has arrived whole is
 * given its length instead), and informational answers, of which LocalStack sends none. Where LocalStack sends no Server
 * or Date, nginx adds its own.
 */
export const transfer = (): string => `
client_max_body_size 0;
# Twisted waits a minute for the next piece.
client_body_timeout 15m;
send_timeout ${LONGEST_SILENCE};
client_header_buffer_size 4k;
large_client_header_buffers 8 64k;
underscores_in_headers on;
ignore_invalid_headers off;
merge_slashes off;
server_tokens off;
# Longer than an ingress keeps an idle connection (Traefik: 90 s), which must be the one that closes it.
keepalive_timeout 120s;
keepalive_requests 1000000;
client_body_buffer_size ${UPLOAD_STEP};
proxy_http_version 1.1;
proxy_request_buffering off;
# Each piece of an answer is sent on as it comes: an event stream's is a few bytes.
proxy_buffering off;
# The answer's headers, and how much of it is read at a time.
proxy_buffer_size ${DOWNLOAD_STEP};
proxy_buffers 4 ${DOWNLOAD_STEP};
proxy_connect_timeout 60s;
proxy_read_timeout ${LONGEST_SILENCE};
proxy_send_timeout ${LONGEST_SILENCE};
proxy_next_upstream off;
${KEPT_BY_NGINX.map((name) => `proxy_pass_header ${name};`).join("\n")}
proxy_ignore_headers ${OBEYED_BY_NGINX.join(" ")};`;

/**
 * Value of the header Connection. HTTP/1.1 needs none to keep a connection, but LocalStack, with hypercorn, closes those that
 * do not ask by name (https://github.com/localstack/localstack/issues/6557), which cost each request 1.5 ms.
 */
export const KEEP_ALIVE = "keep-alive";

/** An nginx upstream of one server. */
export const upstream = (name: string, address: string): string =>
  `upstream ${name} { server ${address} max_fails=0; keepalive 64; keepalive_timeout ${IDLE}; keepalive_requests 1000000; }`;
