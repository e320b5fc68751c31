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
  /** How many logins are refused for their rate before one is let through. */
  rateLimitedLogins?: number;
  twoFactor?: boolean;
  /** Whether `dns.hosts` is fixed by an environment variable. */
  fixedByEnvironment?: boolean;
  /** Path (without `/api`) that never gets an answer. */
  hangsAt?: string;
  /** Runs before each write, to play another program that writes too. */
  beforeWrite?: (hosts: string[]) => void;
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
  sessions: Map<string, Session>;
  seen: SeenRequest[];
  /** Logins that succeeded. */
  logins: number;
}

/**
 * As much of Pi-hole 6's API as its local DNS records need, after pi-hole/FTL src/api/auth.c, src/api/config.c and
 * src/config/validator.c (6.3): sessions and seats, the sid in a header, items decoded and then split at '/', the
 * validator's wording, 400 for an item that is present, 404 without an error object for one that is not.
 */
export async function startPihole(options: FakePiholeOptions = {}): Promise<FakePihole> {
  const { password = "right", seats = 16 } = options;
  const state = {
    hosts: [...(options.hosts ?? [])],
    sessions: new Map<string, Session>(),
    seen: [] as SeenRequest[],
    logins: 0,
    rateLimited: options.rateLimitedLogins ?? 0,
  };

  async function handle(request: IncomingMessage): Promise<Reply | undefined> {
    const path = request.url ?? "";
    const method = request.method ?? "";
    state.seen.push({ method, path });
    if (options.hangsAt !== undefined && path.startsWith(`/api${options.hangsAt}`)) return undefined;
    if (path === "/api/auth") return auth(method, request);
    if (!path.startsWith("/api/config/")) return fail(404, "not_found", "Not found", path);
    const session = state.sessions.get(sidOf(request));
    if (password !== "" && !session) return fail(401, "unauthorized", "Unauthorized", null);
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
    if (method === "GET") return reply(200, { config: { dns: { hosts: state.hosts } }, took: 0.01 });
    if (session?.app && !options.appSudo) {
      const hint =
        "The current app session is not allowed to modify Pi-hole config settings (webserver.api.app_sudo is false)";
      return fail(403, "forbidden", "Unable to change configuration (read-only)", hint);
    }
    const value = path[2];
    if (path.length !== 3 || path[0] !== "dns" || path[1] !== "hosts" || !value) return reply(404, {});
    if (options.fixedByEnvironment) {
      const message = "Config items set via environment variables cannot be changed via the API";
      return fail(400, "bad_request", message, "dns.hosts");
    }
    options.beforeWrite?.(state.hosts);
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

  const server = createServer((request, response) => {
    handle(request)
      .then((answer) => answer && send(response, answer))
      .catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return Object.assign(state, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  });
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
