import { readFileSync } from "node:fs";
import { clientAddress, type GateWorld, listenLines, nginxMain, securityHeaders } from "../nginx.ts";
import { registryErrorJson } from "../registry/errors.ts";
import type { UiLayout } from "./layout.ts";

/** What this gate must know beyond its layout. */
export interface UiGateOptions extends GateWorld {
  registry: {
    /** Host and port of the registry's gate within the cluster. */
    address: string;
    /** What image references begin with. */
    host: string;
    /** Name in the certificate of its gate, where that terminates TLS. Defaults to plain HTTP. */
    tlsName?: string | undefined;
  };
  /** Whether the main user may delete images here. */
  allowDelete: boolean;
}

/** What is added to the page's own style: a file beside this configuration, and where browsers find it. */
export const STYLE_FILE = "page.css";
const STYLE_PATH = `homecloud/${STYLE_FILE}`;

/** The files of the gate, by name. */
export const renderUiFiles = (layout: UiLayout, options: UiGateOptions): Record<string, string> => ({
  "gate.conf": renderUiGate(layout, options),
  [STYLE_FILE]: readFileSync(new URL(STYLE_FILE, import.meta.url), "utf8"),
});

/**
 * nginx configuration of the page's gate: the page, and the registry below the same name, so that the browser asks for the
 * login itself and no other origin is let in. Who sees and deletes what is the registry's to say; nothing is pushed here.
 */
export function renderUiGate(layout: UiLayout, options: UiGateOptions): string {
  return nginxMain(layout, "gate", [
    transfer,
    clientAddress(options.trustedProxies),
    decisions(options),
    logging(layout),
    upstreams(layout, options),
    frontServer(layout, options),
    healthServer(layout),
  ]);
}

/** Nothing is kept on the gate's disk, which is memory: neither what is asked nor what is answered. */
const transfer = `
server_tokens off;
# Of what the page is asked; the default's buffer holds it.
client_max_body_size 8k;
large_client_header_buffers 4 32k;
proxy_http_version 1.1;
proxy_request_buffering off;
proxy_connect_timeout 5s;
# A list of many thousand repositories takes distribution a while on a slow disk.
proxy_read_timeout 120s;
proxy_buffer_size 16k;
proxy_buffers 8 16k;
proxy_busy_buffers_size 32k;
proxy_max_temp_file_size 0;
gzip on;
gzip_vary on;
gzip_proxied any;
gzip_min_length 1000;
gzip_types application/json application/javascript text/css font/ttf;`;

/** The registry's gate lets the main user push and delete: by this name nothing is pushed, and manifests are all that goes. */
const decisions = ({ allowDelete }: UiGateOptions) => `
map "$request_method $uri" $refused {
  default 1;
  "~^(GET|HEAD|OPTIONS) " 0;
  ${allowDelete ? '"~^DELETE /v2/.+/manifests/[^/]+$" 0;' : ""}
}`;

/** $uri, not the request's line. No header is logged that holds a credential. */
const logging = ({ accessLog }: UiLayout) => `
log_format access escape=json '{"time":"$time_iso8601","client":"$remote_addr","user":"$remote_user",'
  '"method":"$request_method","path":"$uri","status":$status,"sent":$bytes_sent,"seconds":$request_time,'
  '"agent":"$http_user_agent","id":"$request_id"}';
access_log ${accessLog} access;`;

const upstreams = ({ loopback, pagePort }: UiLayout, { registry }: UiGateOptions) => `
upstream page { server ${loopback}:${pagePort}; keepalive 8; }
upstream registry { server ${registry.address}; keepalive 16; }`;

const frontServer = (layout: UiLayout, options: UiGateOptions) => `
server {
  ${listenLines(layout, options)}
  ${headers(options, NO_CONTENT)}
  location / {
    ${headers(options, PAGE)}
    # Its files keep their names from version to version: browsers ask whether they have changed.
    add_header Cache-Control no-cache always;
    error_page 502 504 = @page_away;
    proxy_pass http://page;
    sub_filter "</head>" '<link rel="stylesheet" href="${STYLE_PATH}"></head>';
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
    # What is packed cannot be added to.
    proxy_set_header Accept-Encoding "";
    # The page has no use for a login.
    proxy_set_header Authorization "";
  }
  location = /${STYLE_PATH} {
    ${headers(options, NO_CONTENT)}
    add_header Cache-Control no-cache always;
    default_type text/css;
    alias ${layout.config}/${STYLE_FILE};
  }
  location /v2/ {
    ${headers(options, NO_CONTENT)}
    # The registry lets blobs be kept for a year: what a configuration has in its ENV would outlast the login.
    proxy_hide_header Cache-Control;
    add_header Cache-Control "private, no-store" always;
    client_max_body_size 0;
    error_page 405 = @refused;
    error_page 502 504 = @registry_away;
    if ($refused) { return 405; }
    ${registryLines(layout, options)}
    proxy_set_header Host ${options.registry.host};
    proxy_set_header Connection "";
    # Failed logins are counted by the visitor's address.
    proxy_set_header X-Forwarded-For $remote_addr;
    # Whoever came by plain HTTP past an ingress has been sent back; where there is no TLS at all, nothing is said of it.
    proxy_set_header X-Forwarded-Proto ${options.tls ? "https" : "$http_x_forwarded_proto"};
${HEADER_NAMES.map((name) => `    proxy_hide_header ${name};`).join("\n")}
  }
${answers(options)}
}`;

const answers = (options: UiGateOptions) => `  location @refused {
    ${headers(options, NO_CONTENT)}
    add_header Allow "GET, HEAD, OPTIONS${options.allowDelete ? ", DELETE" : ""}" always;
    default_type application/json;
    return 405 ${registryErrorJson("UNSUPPORTED", refusal(options))};
  }
  location @page_away {
    ${headers(options, NO_CONTENT)}
    add_header Retry-After 5 always;
    default_type text/plain;
    return 503 "the page does not answer; try again in a few seconds\\n";
  }
  location @registry_away {
    ${headers(options, NO_CONTENT)}
    add_header Retry-After 5 always;
    default_type application/json;
    return 503 ${registryErrorJson("UNAVAILABLE", "the registry does not answer; try again in a few seconds")};
  }`;

const refusal = ({ registry, allowDelete }: UiGateOptions) =>
  allowDelete
    ? `this page reads, and deletes images by their manifest: push to ${registry.host}`
    : `this page only reads: push to ${registry.host}; the setting registryUi.allowDelete lets images be deleted here`;

function registryLines({ caFile }: UiLayout, { registry }: UiGateOptions): string {
  if (!registry.tlsName) return "proxy_pass http://registry;";
  return `proxy_pass https://registry;
    proxy_ssl_server_name on;
    proxy_ssl_name ${registry.tlsName};
    proxy_ssl_verify on;
    # Its own, the CA's, and the CA's as the former one signed it.
    proxy_ssl_verify_depth 3;
    proxy_ssl_trusted_certificate ${caFile};`;
}

/** What the page loads is its own; its styles stand in its elements. */
const PAGE =
  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; " +
  "frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/** What images hold comes from whoever pushed it: a browser runs none of it, though it has the page's name. */
const NO_CONTENT = "default-src 'none'; frame-ancestors 'none'; sandbox";

/** nginx adds no header of the server where a location has one of its own: they are repeated. */
const headers = (options: UiGateOptions, contentSecurityPolicy: string) =>
  securityHeaders(contentSecurityPolicy, options).join("\n    ");

/** The registry's gate sends the same. */
const HEADER_NAMES = [
  "X-Content-Type-Options",
  "X-Frame-Options",
  "Referrer-Policy",
  "Content-Security-Policy",
  "Strict-Transport-Security",
];

/** Well while the page is there: the registry has a health of its own. */
const healthServer = ({ healthPort }: UiLayout) => `
server {
  listen ${healthPort};
  access_log off;
  location = /healthz {
    proxy_pass http://page/;
    proxy_set_header Connection "";
    error_page 502 504 =503 @down;
  }
  location @down { return 503; }
  location / { return 404; }
}`;
