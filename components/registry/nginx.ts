import type { Layout } from "./layout.ts";

/** A value as nginx reads it back. nginx has no escape for '$': such a value cannot be written and is refused. */
export function quote(value: string): string {
  if (value.includes("$") && !value.startsWith("~")) throw new Error(`nginx cannot quote a value with '$': ${value}`);
  return `'${value.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

/** A whole configuration file of one nginx: runs in the foreground, writes to its own temporary folder only. */
export function nginxMain({ tmp }: Layout, name: string, http: string[]): string {
  return `# Rendered by homecloud (components/registry). Changes made here are lost.
worker_processes 2;
daemon off;
pid ${tmp}/${name}.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
client_body_temp_path ${tmp}/${name}-body;
proxy_temp_path ${tmp}/${name}-proxy;
fastcgi_temp_path ${tmp}/${name}-fastcgi;
uwsgi_temp_path ${tmp}/${name}-uwsgi;
scgi_temp_path ${tmp}/${name}-scgi;
${http.filter((section) => section !== "").join("\n")}
}
`;
}
