import { nginxMain } from "../nginx.ts";
import type { Layout } from "./layout.ts";

/**
 * nginx configuration of the login check: bcrypt and nothing else. A process of its own, because bcrypt in a worker stops
 * every transfer that the worker carries (measured: up to 6 s under 30 wrong logins a second). The gate remembers its yes
 * and limits how often it is asked.
 */
export function renderLogin(layout: Layout): string {
  const { loopback, loginPort, users } = layout;
  return nginxMain(layout, "login", [
    `
access_log off;
server {
  listen ${loopback}:${loginPort};
  auth_basic "Registry";
  auth_basic_user_file ${users}/htpasswd;
  # Not \`return\`: it would answer in the rewrite phase, before the login is checked.
  location / { try_files /none =204; }
  # Asked every second with a name that nobody has: reads the users, hashes nothing, and fills no log.
  location = /check { error_log stderr crit; try_files /none =204; }
}`,
  ]);
}
