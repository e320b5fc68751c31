import type { Layout } from "./layout.ts";
import { nginxMain } from "./nginx.ts";

/**
 * nginx configuration of the login check: bcrypt and nothing else. A process of its own, because bcrypt in a worker stops
 * every transfer that the worker carries (measured: up to 6 s under 30 wrong logins a second).
 *
 * Only what the gate does not remember arrives here, so the limits count wrong logins and first ones. The gate's lock lets
 * one of many equal logins through, so a person or a CI never comes near them.
 */
export function renderLogin(layout: Layout): string {
  const { loopback, loginPort, users, counters } = layout;
  return nginxMain(layout, "login", [
    `
limit_req_zone "$http_x_client_address $remote_user" zone=per_user:2m rate=2r/s;
limit_req_zone $server_name zone=total:32k rate=4r/s;
limit_req_status 429;
log_format tick '';
map $status $failed { 401 1; 429 1; }
access_log ${counters}/logins.failed tick if=$failed;
server {
  listen ${loopback}:${loginPort};
  server_name login;
  auth_basic "Registry";
  auth_basic_user_file ${users}/htpasswd;
  # Not \`return\`: it would answer in the rewrite phase, before the login is checked.
  location / {
    limit_req zone=per_user burst=5 nodelay;
    limit_req zone=total burst=12 nodelay;
    try_files /none =204;
  }
  # Reads the htpasswd file and hashes nothing, as nobody has this name.
  location = /check { access_log off; try_files /none =204; }
}`,
  ]);
}
