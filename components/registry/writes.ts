import { BODY_STEP, nginxMain } from "../nginx.ts";
import { registryErrorJson } from "./errors.ts";
import { type Layout, STATE_FILES } from "./layout.ts";

/** What a write is told while garbage is collected. */
export const MAINTENANCE_ANSWER = registryErrorJson(
  "UNAVAILABLE",
  "garbage is being collected: pulls go on, pushes are possible again in a few minutes",
);

/**
 * nginx configuration of the relay that every write passes. nginx cannot end single requests: stopping this process ends
 * all writes that are under way, and nothing else, which is how the limit holds against uploads of unknown length.
 *
 * The gate reads its flags before it checks the login, which may take seconds; here, after it, they are read again.
 */
export function renderWrites(layout: Layout): string {
  const { loopback, writesPort, registryPort, state } = layout;
  return nginxMain(layout, "writes", [
    `
access_log off;
client_max_body_size 0;
client_body_timeout 300s;
large_client_header_buffers 4 32k;
client_body_buffer_size ${BODY_STEP};
keepalive_requests 100000;
proxy_http_version 1.1;
proxy_request_buffering off;
proxy_connect_timeout 5s;
proxy_read_timeout 15m;
proxy_send_timeout 300s;
proxy_next_upstream off;
upstream registry { server ${loopback}:${registryPort}; keepalive 64; }
map $request_method $takes_room { default 1; DELETE 0; }
server {
  listen ${loopback}:${writesPort};
  default_type application/json;
  root ${state};
  error_page 403 /${STATE_FILES.fullAnswer};
  location / {
    set $refused 0;
    if (-f ${state}/${STATE_FILES.over}) { set $refused $takes_room; }
    if (-f ${state}/${STATE_FILES.maintenance}) { set $refused maintenance; }
    if ($refused = maintenance) {
      add_header Retry-After 30 always;
      return 503 ${MAINTENANCE_ANSWER};
    }
    if ($refused) { return 403; }
    proxy_pass http://registry;
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
  }
  location = /${STATE_FILES.fullAnswer} { internal; }
  # Connections: Writing counts requests under way, this one included.
  location = /homecloud/writers { stub_status; }
}`,
  ]);
}
