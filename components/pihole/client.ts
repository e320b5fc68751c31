import { setTimeout as pause } from "node:timers/promises";
import { z } from "zod";

/** Longest that one request may take. */
const REQUEST_LIMIT_MS = 10_000;

/**
 * Pi-hole counts failed logins by the second and refuses more than three. An app password costs one even when it is right,
 * because the main password is tried first. Source: `verify_login`, pi-hole/FTL src/config/password.c
 */
const RATE_LIMIT_PAUSE_MS = 1_100;
const LOGIN_ATTEMPTS = 3;

/** What went wrong, in words for a person. Never holds the password. */
export class PiholeError extends Error {}

export interface PiholeLogin {
  /** Pi-hole's address, for example `http://192.168.1.2`. What follows the host may end in `/admin` or `/api`. */
  url: string;
  /** Pi-hole's password, or an app password. */
  password: string;
  /** Ends the request under way; the logout is still sent. */
  signal?: AbortSignal;
}

/** An API session. Seats are few (16 by default), so it is always given back: see `withPihole`. */
export interface PiholeSession {
  /** The lines of `dns.hosts`: an address and one name or more each. */
  hosts(): Promise<string[]>;
  /** Adds a line; one that is there already is no error. */
  addHost(line: string): Promise<void>;
  /** Takes a line out; one that is gone already is no error. */
  removeHost(line: string): Promise<void>;
}

/** Logs in, does the work and logs out, whatever came of the work. */
export async function withPihole<T>(login: PiholeLogin, work: (session: PiholeSession) => Promise<T>): Promise<T> {
  const connection = new Connection(login);
  await connection.login(login.password);
  try {
    return await work(connection);
  } finally {
    await connection.logout();
  }
}

const sessionAnswer = z.object({ session: z.object({ valid: z.boolean(), sid: z.string().nullish() }) });
const hostsAnswer = z.object({ config: z.object({ dns: z.object({ hosts: z.array(z.string()) }) }) });
const errorAnswer = z.object({
  error: z.object({ key: z.string(), message: z.string(), hint: z.string().nullish().catch(null) }),
});

type Failure = z.output<typeof errorAnswer>["error"];

interface Answer {
  status: number;
  body: unknown;
  /** Pi-hole's own account of what is wrong. */
  failure: Failure | undefined;
}

interface RequestOptions {
  json?: object;
  /** Whether the caller's signal ends it. Defaults to true. */
  canBeStopped?: boolean;
}

/** Pi-hole 6's API. Source: pi-hole/FTL src/api/docs/content/specs, also at `http://pi.hole/api/docs` of every Pi-hole. */
class Connection implements PiholeSession {
  private readonly base: string;
  private readonly signal: AbortSignal | undefined;
  /** Undefined before the login, and where Pi-hole has no password: then there are no sessions. */
  private sid: string | undefined;

  constructor({ url, signal }: PiholeLogin) {
    this.base = apiBase(url);
    this.signal = signal;
  }

  async login(password: string): Promise<void> {
    let answer = await this.request("POST", "/auth", { json: { password } });
    for (let attempt = 1; answer.failure?.key === "rate_limiting" && attempt < LOGIN_ATTEMPTS; attempt++) {
      await pause(RATE_LIMIT_PAUSE_MS);
      answer = await this.request("POST", "/auth", { json: { password } });
    }
    const { data } = sessionAnswer.safeParse(answer.body);
    if (answer.status === 401 && data) throw new PiholeError(`Pi-hole at ${this.base} refused the password.`);
    if (answer.status === 404) throw this.notPihole();
    if (answer.status !== 200) throw this.refusal(answer);
    if (!data?.session.valid) throw this.notPihole();
    this.sid = data.session.sid ?? undefined;
  }

  /** Never fails: the session ends by itself after half an hour, and a failed logout must not hide what came before. */
  async logout(): Promise<void> {
    if (this.sid === undefined) return;
    await this.request("DELETE", "/auth", { canBeStopped: false }).catch(() => undefined);
    this.sid = undefined;
  }

  async hosts(): Promise<string[]> {
    const answer = await this.request("GET", "/config/dns/hosts");
    if (answer.status !== 200) throw this.refusal(answer);
    const { data } = hostsAnswer.safeParse(answer.body);
    if (!data) throw this.notPihole();
    return data.config.dns.hosts;
  }

  async addHost(line: string): Promise<void> {
    const answer = await this.request("PUT", `/config/dns/hosts/${encodeURIComponent(line)}`);
    const present = answer.status === 400 && answer.failure?.message === "Item already present";
    if (answer.status !== 201 && !present) throw this.refusal(answer);
  }

  async removeHost(line: string): Promise<void> {
    const answer = await this.request("DELETE", `/config/dns/hosts/${encodeURIComponent(line)}`);
    if (answer.status !== 204 && answer.status !== 404) throw this.refusal(answer);
  }

  private async request(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    const signals = [AbortSignal.timeout(REQUEST_LIMIT_MS)];
    if (this.signal && options.canBeStopped !== false) signals.push(this.signal);
    const init: RequestInit = {
      method,
      headers: {
        ...(options.json ? { "Content-Type": "application/json" } : {}),
        ...(this.sid === undefined ? {} : { "X-FTL-SID": this.sid }),
      },
      body: options.json ? JSON.stringify(options.json) : null,
      // A redirect would turn the login into a GET, or carry the password to where nobody meant it to go.
      redirect: "manual",
      signal: AbortSignal.any(signals),
    };
    let response: Response;
    let text: string;
    try {
      response = await fetch(`${this.base}/api${path}`, init);
      text = await response.text();
    } catch (error) {
      throw new PiholeError(`Pi-hole at ${this.base} ${whyUnreachable(error)}.`);
    }
    if (response.status >= 300 && response.status < 400) {
      throw new PiholeError(
        `Pi-hole at ${this.base} redirects to ${response.headers.get("location") ?? "elsewhere"}: give that address instead.`,
      );
    }
    const body = parseJson(text);
    return { status: response.status, body, failure: errorAnswer.safeParse(body).data?.error };
  }

  private notPihole(): PiholeError {
    return new PiholeError(
      `What answers at ${this.base} does not speak Pi-hole 6's API: check the address and version.`,
    );
  }

  private refusal({ status, failure }: Answer): PiholeError {
    if (!failure) return new PiholeError(`Pi-hole at ${this.base} answered ${status} without saying why.`);
    const { key, message, hint } = failure;
    const said = hint ? `${message} (${hint})` : message;
    if (status === 401) {
      return new PiholeError(
        `Pi-hole at ${this.base} ended the session (${said}): a password changed meanwhile? Try again.`,
      );
    }
    if (status === 403 && said.includes("app_sudo")) {
      return new PiholeError(
        "Pi-hole lets this app password only read: turn on webserver.api.app_sudo in Pi-hole (Settings, All settings), or give its main password.",
      );
    }
    if (key === "api_seats_exceeded") {
      return new PiholeError(
        "All of Pi-hole's API seats are taken: end sessions in its Settings, Web interface / API, or raise webserver.api.max_sessions, then try again.",
      );
    }
    if (key === "rate_limiting") {
      return new PiholeError("Pi-hole refuses logins for now, too many of them failed: try again in a few seconds.");
    }
    if (message.includes("2FA")) {
      return new PiholeError(
        `Pi-hole asks for a second factor (${said}): make an app password in its Settings, Web interface / API, and give that.`,
      );
    }
    if (message.includes("environment variables")) {
      return new PiholeError(
        "Pi-hole's dns.hosts is fixed by FTLCONF_dns_hosts in its container: take that variable away, or put the record into it.",
      );
    }
    return new PiholeError(`Pi-hole at ${this.base} answered ${status}: ${said}.`);
  }
}

/** Scheme, host and port, and the path of a reverse proxy where there is one. Not a name or password inside the URL. */
function apiBase(url: string): string {
  if (!URL.canParse(url))
    throw new PiholeError("Pi-hole's address is no web address; one looks like http://192.168.1.2.");
  const { origin, pathname } = new URL(url);
  return origin + pathname.replace(/\/(admin|api)?\/?$/, "");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const UNREACHABLE: Record<string, string> = {
  ECONNREFUSED: "refuses connections: is it running, and is the port right",
  ECONNRESET: "broke the connection off",
  EHOSTUNREACH: "cannot be reached: is it switched on, and this machine on its network",
  ENETUNREACH: "cannot be reached: is this machine on its network",
  ENOTFOUND: "has a name that does not resolve: give an IP address",
  EAI_AGAIN: "has a name that does not resolve just now: give an IP address",
};

function whyUnreachable(error: unknown): string {
  if (error instanceof Error && error.name === "TimeoutError") {
    return `did not answer within ${REQUEST_LIMIT_MS / 1000} seconds: is it switched on, and this machine on its network`;
  }
  if (error instanceof Error && error.name === "AbortError") return "was not waited for: the run was interrupted";
  // fetch says "fetch failed" and keeps the reason in its cause.
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  if (/CERT|TLS|SSL|SELF_SIGNED|VERIFY/.test(code)) {
    return `has a certificate that this machine does not trust (${code}): give http:// instead of https://, or put its CA into NODE_EXTRA_CA_CERTS`;
  }
  return (
    UNREACHABLE[code] ?? `cannot be reached (${code || (cause instanceof Error ? cause.message : "unknown reason")})`
  );
}
