/** What every gate must know of the world around it. */
export interface GateWorld {
  /** Whether the gate itself terminates TLS, because no ingress does. */
  tls: boolean;
  /** Address ranges of the ingress controller, whose X-Forwarded-For is believed. */
  trustedProxies: string[];
  /** Whether browsers are told to use HTTPS only; wise with a public certificate only. Defaults to false. */
  hsts?: boolean;
}

/** Folders of a container that runs an nginx. */
export interface NginxFolders {
  /** Private and writable: process ids, sockets, temporary files. */
  tmp: string;
  /** Configuration files. */
  config: string;
}

/** How much of an upload is handed on at a time, in a gate and in its relay: fewer steps than the default's 16k. */
export const BODY_STEP = "128k";

/** A value as nginx reads it back. nginx has no escape for '$': such a value cannot be written and is refused. */
export function quote(value: string): string {
  if (value.includes("$")) throw new Error(`nginx cannot quote a value with '$': ${value}`);
  return inQuotes(value);
}

/** A key of an nginx map that matches exactly this text; a plain key would ignore case. */
export function quoteExactly(text: string): string {
  return inQuotes(`~^${text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`);
}

const inQuotes = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;

/**
 * What a gate that terminates TLS says of it, with the certificate and key in this folder. HTTP/1.1 only: nginx's HTTP/2
 * takes uploads in windows of 64 KB, 13 MB/s at 5 ms of Wi-Fi.
 */
const tlsLines = (certificate: string): string => `ssl_certificate ${certificate}/tls.crt;
  ssl_certificate_key ${certificate}/tls.key;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:tls:2m;
  ssl_session_tickets off;
  # Plain HTTP sent to this port.
  error_page 497 =308 https://$http_host$request_uri;`;

/** The ingress hands plain HTTP on too, and says so in a header: this works with every controller. */
const redirectForwarded = `if ($http_x_forwarded_proto = "http") { return 308 https://$host$request_uri; }`;

/** How a gate's server begins: where it listens, and that it answers over HTTPS only. */
export const listenLines = (
  { gatePort, certificate }: { gatePort: number; certificate: string },
  { tls }: GateWorld,
): string => `listen ${gatePort}${tls ? " ssl" : ""};
  ${tls ? tlsLines(certificate) : redirectForwarded}`;

/** The scheme that the client used, as the ingress tells it. */
export const forwardedScheme = `map $http_x_forwarded_proto $forwarded_scheme { default $http_x_forwarded_proto; "" $scheme; }`;

/** Believes the address that an ingress controller in these ranges names as its client; nobody else is believed. */
export const clientAddress = (trustedProxies: string[]): string =>
  trustedProxies.length === 0
    ? ""
    : `
real_ip_header X-Forwarded-For;
real_ip_recursive on;
${[...new Set(trustedProxies)].map((range) => `set_real_ip_from ${range};`).join("\n")}`;

/** Tells browsers to use HTTPS only, for a year. */
export const STRICT_TRANSPORT = 'add_header Strict-Transport-Security "max-age=31536000" always;';

/** What a gate tells browsers to refuse, one line each. */
export const securityHeaders = (contentSecurityPolicy: string, { hsts }: GateWorld): string[] => [
  "add_header X-Content-Type-Options nosniff always;",
  "add_header X-Frame-Options DENY always;",
  `add_header Content-Security-Policy "${contentSecurityPolicy}" always;`,
  "add_header Referrer-Policy no-referrer always;",
  ...(hsts ? [STRICT_TRANSPORT] : []),
];

/** A whole configuration file of one nginx: runs in the foreground, writes to its own temporary folder only. */
export function nginxMain({ tmp }: NginxFolders, name: string, http: string[]): string {
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

/**
 * How a container starts its nginx. Not by the image's entry point: it edits files, and the root is read-only. One that was
 * killed finds its sockets again, as its memory volume lives as long as the pod, and nginx binds to none that exists. They
 * carry its name: it takes away no other's.
 */
export function nginxCommand(name: string, { tmp, config }: NginxFolders): [string, ...string[]] {
  return ["sh", "-c", `rm -f ${tmp}/${name}-*.sock && exec nginx -e stderr -p ${tmp}/ -c ${config}/${name}.conf`];
}

/** The head of a container that runs the nginx of this name. Ports, probes and mounts are its pod's to add. */
export const nginxContainer = <Name extends string, Resources>(
  name: Name,
  settings: { images: { nginx: string }; resources: Record<Name, Resources> },
  folders: NginxFolders,
) => ({
  name,
  image: settings.images.nginx,
  command: nginxCommand(name, folders),
  resources: settings.resources[name],
});
