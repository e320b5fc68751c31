import type { Layout } from "./layout.ts";
import { nginxMain } from "./nginx.ts";

/**
 * nginx configuration of the relay that every write passes. nginx cannot end single requests: stopping this process ends
 * all writes that are under way, and nothing else, which is how the limit holds against uploads of unknown length.
 */
export function renderWrites(layout: Layout): string {
  const { loopback, writesPort, registryPort } = layout;
  return nginxMain(layout, "writes", [
    `
access_log off;
client_max_body_size 0;
client_body_timeout 300s;
large_client_header_buffers 4 32k;
client_body_buffer_size 512k;
keepalive_requests 100000;
proxy_http_version 1.1;
proxy_request_buffering off;
proxy_connect_timeout 5s;
proxy_read_timeout 15m;
proxy_send_timeout 300s;
proxy_next_upstream off;
upstream registry { server ${loopback}:${registryPort}; keepalive 64; }
server {
  listen ${loopback}:${writesPort};
  location / {
    proxy_pass http://registry;
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
  }
  # Connections: Writing counts requests under way, this one included.
  location = /homecloud/writers { stub_status; }
}`,
  ]);
}
