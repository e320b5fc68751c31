import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, isIP } from "node:net";

export interface FakePiholeOptions {
  /** Empty: no password is set, and there are no sessions. Defaults to "right". */
  password?: string;
  appPassword?: string;
  /** Whether a session of the app password may change settings. Defaults to false, as in Pi-hole. */
  appSudo?: boolean;
  /** Defaults to 16, as in Pi-hole. */
  seats?: number;
  /** Lines of `dns.hosts` at the start. */
  hosts?: string[];
  /** Lines of `misc.dnsmasq_lines` at the start. */
  dnsmasqLines?: string[];
  /** How many logins are refused for their rate before one is let through. */
  rateLimitedLogins?: number;
  twoFactor?: boolean;
  /** Whether `dns.hosts` and `misc.dnsmasq_lines` are fixed by environment variables. */
  fixedByEnvironment?: boolean;
  /** `misc.readOnly` */
  readOnly?: boolean;
  /** `webserver.session.restore`: whether sessions outlive a restart. Defaults to true, as in Pi-hole. */
  restoresSessions?: boolean;
  /** How long a restart leaves nobody at the port. Defaults to 300 ms; Infinity: it never comes back. */
  restartMs?: number;
  /** Whether DNS starts again after a restart. Defaults to true. */
  dnsStarts?: boolean;
  /** Path (without `/api`) that never gets an answer. */
  hangsAt?: string;
  /** Runs before each write, to play another program that writes too. */
  beforeWrite?: (hosts: string[], dnsmasqLines: string[]) => void;
}

interface Session {
  app: boolean;
}

interface Reply {
  status: number;
  body: object | undefined;
}

export interface SeenRequest {
  method: string;
  path: string;
}

export interface FakePihole extends AsyncDisposable {
  url: string;
  hosts: string[];
  dnsmasqLines: string[];
  sessions: Map<string, Session>;
  seen: SeenRequest[];
  restarts: number;
  /** Logins that succeeded. */
  logins: number;
}

/** How long Pi-hole's API still answers once a restart is decided. Source: pi-hole/FTL src/main.c */
const GRACE_MS = 250;

/**
 * As much of Pi-hole 6's API as its local DNS records need, after pi-hole/FTL src/api/auth.c, src/api/config.c,
 * src/api/info.c, src/config/validator.c, src/config/dnsmasq_config.c and src/main.c (6.4.1): sessions and seats, the sid
 * in a header, items decoded and then split at '/', the validator's wording, 400 for an item that is present, 404 without
 * an error object for one that is not; a PATCH of dnsmasq's lines is tested whole, answered, and followed by a restart.
 */
export async function startPihole(options: FakePiholeOptions = {}): Promise<FakePihole> {
  const { password = "right", seats = 16 } = options;
  const state = {
    hosts: [...(options.hosts ?? [])],
    dnsmasqLines: [...(options.dnsmasqLines ?? [])],
    restarts: 0,
    sessions: new Map<string, Session>(),
    seen: [] as SeenRequest[],
    logins: 0,
    rateLimited: options.rateLimitedLogins ?? 0,
    startedAt: performance.now(),
  };

  async function handle(request: IncomingMessage): Promise<Reply | undefined> {
    const path = request.url ?? "";
    const method = request.method ?? "";
    state.seen.push({ method, path });
    if (options.hangsAt !== undefined && path.startsWith(`/api${options.hangsAt}`)) return undefined;
    if (path === "/api/auth") return auth(method, request);
    if (path === "/api/info/login") {
      return reply(200, { dns: state.restarts === 0 || options.dnsStarts !== false, https_port: 443, took: 0.01 });
    }
    if (!/^\/api\/(config(\/|$)|info\/ftl$)/.test(path)) return fail(404, "not_found", "Not found", path);
    const session = state.sessions.get(sidOf(request));
    if (password !== "" && !session) return fail(401, "unauthorized", "Unauthorized", null);
    if (path === "/api/info/ftl") {
      return reply(200, { ftl: { pid: 12, uptime: performance.now() - state.startedAt }, took: 0.01 });
    }
    if (method === "PATCH") return patch(await text(request), session);
    return config(method, decodeURIComponent(path).slice("/api/config/".length), session);
  }

  async function auth(method: string, request: IncomingMessage): Promise<Reply> {
    if (method === "DELETE") {
      if (!state.sessions.delete(sidOf(request))) return reply(401, noSession("no SID provided"));
      return reply(204);
    }
    if (method !== "POST") return fail(404, "not_found", "Not found", null);
    const given = passwordIn(await text(request));
    if (given === undefined) return fail(400, "bad_request", "No password found in JSON payload", null);
    if (state.rateLimited-- > 0) return fail(429, "rate_limiting", "Rate-limiting login attempts", null);
    if (password === "") {
      const session = { valid: true, totp: false, sid: null, validity: -1, message: "no password set" };
      return reply(200, { session, took: 0.01 });
    }
    const app = options.appPassword !== undefined && given === options.appPassword;
    if (!app && given !== password) return reply(401, noSession("password incorrect"));
    if (!app && options.twoFactor) {
      return fail(400, "bad_request", "No 2FA token found in JSON payload", null);
    }
    if (state.sessions.size >= seats) {
      return fail(429, "api_seats_exceeded", "API seats exceeded", "increase webserver.api.max_sessions");
    }
    const sid = randomBytes(20).toString("base64");
    state.sessions.set(sid, { app });
    state.logins++;
    const session = { valid: true, totp: false, sid, csrf: "unused", validity: 1800, message: "password correct" };
    return reply(200, { session, took: 0.01 });
  }

  function config(method: string, item: string, session: Session | undefined): Reply {
    const path = item.split("/");
    if (method === "GET") return reply(200, { config: settings(), took: 0.01 });
    if (session?.app && !options.appSudo) return onlyReads();
    const value = path[2];
    if (path.length !== 3 || path[0] !== "dns" || path[1] !== "hosts" || !value) return reply(404, {});
    if (options.fixedByEnvironment) {
      const message = "Config items set via environment variables cannot be changed via the API";
      return fail(400, "bad_request", message, "dns.hosts");
    }
    options.beforeWrite?.(state.hosts, state.dnsmasqLines);
    const index = state.hosts.indexOf(value);
    if (method === "PUT") {
      if (index >= 0) {
        return fail(400, "bad_request", "Item already present", "Uniqueness of items is enforced");
      }
      const invalid = whyInvalid(value, state.hosts.length);
      if (invalid) return fail(400, "bad_request", "Invalid value", invalid);
      state.hosts.push(value);
      return reply(201, { took: 0.01 });
    }
    if (index < 0) return reply(404, { took: 0.01 });
    state.hosts.splice(index, 1);
    return reply(204);
  }

  function settings(): object {
    return { dns: { hosts: state.hosts }, misc: { dnsmasq_lines: state.dnsmasqLines } };
  }

  function patch(body: string, session: Session | undefined): Reply {
    if (session?.app && !options.appSudo) return onlyReads();
    if (options.readOnly) return fail(403, "forbidden", "The config is currently in read-only mode", null);
    const lines = linesIn(body);
    if (!lines) return fail(400, "bad_request", "Config item is invalid", "misc.dnsmasq_lines: not of type array");
    options.beforeWrite?.(state.hosts, state.dnsmasqLines);
    if (JSON.stringify(lines) === JSON.stringify(state.dnsmasqLines)) return reply(200, { config: settings() });
    if (options.fixedByEnvironment) {
      const message = "Config items set via environment variables cannot be changed via the API";
      return fail(400, "bad_request", message, "misc.dnsmasq_lines");
    }
    const invalid = whyDnsmasqRefuses(lines);
    if (invalid) return fail(400, "bad_request", "Invalid configuration", invalid);
    state.dnsmasqLines.splice(0, Infinity, ...lines);
    restarting = setTimeout(restart, GRACE_MS);
    return reply(200, { config: settings(), took: 0.01 });
  }

  let restarting: NodeJS.Timeout | undefined;

  function restart(): void {
    const { port } = server.address() as AddressInfo;
    state.restarts++;
    server.close();
    server.closeAllConnections();
    if (options.restoresSessions === false) state.sessions.clear();
    const { restartMs = 300 } = options;
    if (restartMs === Infinity) return;
    restarting = setTimeout(() => {
      state.startedAt = performance.now();
      server.listen(port, "127.0.0.1");
    }, restartMs);
  }

  const server = createServer((request, response) => {
    handle(request)
      .then((answer) => answer && send(response, answer))
      .catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return Object.assign(state, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      clearTimeout(restarting);
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  });
}

function onlyReads(): Reply {
  const hint =
    "The current app session is not allowed to modify Pi-hole config settings (webserver.api.app_sudo is false)";
  return fail(403, "forbidden", "Unable to change configuration (read-only)", hint);
}

function sidOf(request: IncomingMessage): string {
  const sid = request.headers["x-ftl-sid"] ?? request.headers.sid;
  return typeof sid === "string" ? sid : "";
}

async function text(request: IncomingMessage): Promise<string> {
  let all = "";
  for await (const chunk of request.setEncoding("utf8")) all += chunk;
  return all;
}

function passwordIn(body: string): string | undefined {
  const parsed: unknown = JSON.parse(body);
  if (typeof parsed !== "object" || parsed === null || !("password" in parsed)) return undefined;
  return typeof parsed.password === "string" ? parsed.password : undefined;
}

/** The one setting that a PATCH changes here. */
function linesIn(body: string): string[] | undefined {
  const { config } = JSON.parse(body) as { config: { misc: { dnsmasq_lines: unknown } } };
  const lines = config.misc.dnsmasq_lines;
  return Array.isArray(lines) && lines.every((line) => typeof line === "string") ? lines : undefined;
}

/** `dnsmasq --test` of the whole file, of which the lines are a part. */
function whyDnsmasqRefuses(lines: string[]): string | undefined {
  for (const [index, line] of lines.entries()) {
    const where = `at line ${index + 60} of /etc/pihole/dnsmasq.conf.temp: "${line}"`;
    const [, option, value] = /^\s*(address|local|server|log-dhcp)\s*(?:=\s*([^#]*\S))?\s*(?:#.*)?$/.exec(line) ?? [];
    if (option === undefined) return `bad option ${where}`;
    const [, literal] = /^\/.+\/([^/]*)$/.exec(value ?? "") ?? [];
    if (option === "address" && literal && literal !== "#" && !isIP(literal))
      return `Bad address in --address ${where}`;
  }
  return undefined;
}

function noSession(message: string): object {
  return { session: { valid: false, totp: false, sid: null, validity: -1, message }, took: 0.01 };
}

function reply(status: number, body?: object): Reply {
  return { status, body };
}

function fail(status: number, key: string, message: string, hint: string | null): Reply {
  return reply(status, { error: { key, message, hint }, took: 0.01 });
}

function send(response: ServerResponse, { status, body }: Reply): void {
  response.writeHead(status, { "Content-Type": "application/json; charset=utf-8" });
  response.end(body && JSON.stringify(body));
}

function whyInvalid(line: string, index: number): string | undefined {
  const [address = "", ...names] =
    line
      .split("#", 1)[0]
      ?.trim()
      .split(/[ \t]+/) ?? [];
  if (!isIP(address)) return `dns.hosts[${index}]: neither a valid IPv4 nor IPv6 address ("${address}")`;
  if (names.length === 0) return `dns.hosts[${index}]: entry does not have at least one hostname ("${line}")`;
  const wrong = names.find((name) => !/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/i.test(name));
  return wrong === undefined ? undefined : `dns.hosts[${index}]: invalid hostname ("${wrong}")`;
}
