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

/** Pi-hole writes its database and reads it again when it restarts: seconds on a small machine with a long history. */
const RESTART_LIMIT_MS = 90_000;
const RESTART_POLL_MS = 250;

/** What went wrong, in words for a person. Never holds the password. */
export class PiholeError extends Error {}

/** Pi-hole does not know the session any more. */
class SessionEndedError extends PiholeError {}

export interface PiholeLogin {
  /** Pi-hole's address, for example `http://192.168.1.2`. What follows the host may end in `/admin` or `/api`. */
  url: string;
  /** Pi-hole's password, or an app password. */
  password: string;
  /** Ends the request under way; the logout is still sent. */
  signal?: AbortSignal;
  /** Longest wait for Pi-hole to come back from a restart. Defaults to 90 seconds. */
  restartLimitMs?: number;
}

/** An API session. Seats are few (16 by default), so it is always given back: see `withPihole`. */
export interface PiholeSession {
  /** The lines of `dns.hosts`: an address and one name or more each. */
  hosts(): Promise<string[]>;
  /** Adds a line; one that is there already is no error. */
  addHost(line: string): Promise<void>;
  /** Takes a line out; one that is gone already is no error. */
  removeHost(line: string): Promise<void>;
  /** The lines of `misc.dnsmasq_lines`. */
  dnsmasqLines(): Promise<string[]>;
  /** Replaces all of those lines. Pi-hole restarts, and its DNS with it; returns when both answer again. */
  setDnsmasqLines(lines: string[]): Promise<void>;
}

/** Logs in, does the work and logs out, whatever came of the work. */
export async function withPihole<T>(login: PiholeLogin, work: (session: PiholeSession) => Promise<T>): Promise<T> {
  const connection = new Connection(login);
  await connection.login();
  try {
    return await work(connection);
  } finally {
    await connection.logout();
  }
}

const sessionAnswer = z.object({ session: z.object({ valid: z.boolean(), sid: z.string().nullish() }) });
const hostsAnswer = z.object({ config: z.object({ dns: z.object({ hosts: z.array(z.string()) }) }) });
const linesAnswer = z.object({ config: z.object({ misc: z.object({ dnsmasq_lines: z.array(z.string()) }) }) });
const uptimeAnswer = z.object({ ftl: z.object({ uptime: z.number() }) });
const dnsAnswer = z.object({ dns: z.boolean() });
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
  private readonly password: string;
  private readonly signal: AbortSignal | undefined;
  private readonly restartLimitMs: number;
  /** Undefined before the login, and where Pi-hole has no password: then there are no sessions. */
  private sid: string | undefined;

  constructor({ url, password, signal, restartLimitMs = RESTART_LIMIT_MS }: PiholeLogin) {
    this.base = apiBase(url);
    this.password = password;
    this.signal = signal;
    this.restartLimitMs = restartLimitMs;
  }

  async login(): Promise<void> {
    const { password } = this;
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

  async dnsmasqLines(): Promise<string[]> {
    const answer = await this.request("GET", "/config/misc/dnsmasq_lines");
    if (answer.status !== 200) throw this.refusal(answer);
    const { data } = linesAnswer.safeParse(answer.body);
    if (!data) throw this.notPihole();
    return data.config.misc.dnsmasq_lines;
  }

  /**
   * The whole list at once, for two reasons. PUT and DELETE of an item split the path at every '/', an encoded one too
   * (`gen_config_path` after civetweb's `decode_url`), and so never find a line like `address=/name/address`: they answer
   * 404. And one PATCH is one restart, however many lines change. Source: `api_config_patch`, pi-hole/FTL src/api/config.c
   */
  async setDnsmasqLines(lines: string[]): Promise<void> {
    const { latest } = await this.started();
    const answer = await this.request("PATCH", "/config", { json: { config: { misc: { dnsmasq_lines: lines } } } });
    if (answer.status !== 200) throw this.refusal(answer);
    await this.restart(latest);
    await this.dnsRuns();
  }

  /**
   * Waits for a Pi-hole that started after that moment. It answers first and restarts then (`api_handler`, src/api/api.c;
   * `restart_ftl`, src/signals.c): the old one serves its API for another quarter of a second, and none does while the
   * program replaces itself (src/main.c). The new one binds its DNS ports before it serves its API
   * (`FTL_fork_and_bind_sockets`, src/dnsmasq_interface.c), so that names resolve again once it answers.
   */
  private async restart(before: number): Promise<void> {
    const end = performance.now() + this.restartLimitMs;
    let why = "it did not restart";
    while (performance.now() < end) {
      await this.pause(RESTART_POLL_MS);
      try {
        const { earliest } = await this.started();
        if (earliest > before) return;
      } catch (error) {
        if (!(error instanceof PiholeError)) throw error;
        why = error.message.replace(/\.$/, "");
        // Sessions outlive a restart in the database, unless that or `webserver.session.restore` is turned off.
        if (error instanceof SessionEndedError) await this.login();
      }
    }
    throw new PiholeError(
      `Pi-hole took the setting but was not back after ${this.restartLimitMs / 1000} seconds (${why}): see to it, then run the same command again.`,
    );
  }

  /** When Pi-hole started, between two moments of this machine's clock. */
  private async started(): Promise<{ earliest: number; latest: number }> {
    const asked = performance.now();
    const answer = await this.request("GET", "/info/ftl");
    if (answer.status !== 200) throw this.refusal(answer);
    const { data } = uptimeAnswer.safeParse(answer.body);
    if (!data) throw this.notPihole();
    return { earliest: asked - data.ftl.uptime, latest: performance.now() - data.ftl.uptime };
  }

  /** Pi-hole's API runs on when its DNS could not start. */
  private async dnsRuns(): Promise<void> {
    const { body } = await this.request("GET", "/info/login");
    if (dnsAnswer.safeParse(body).data?.dns !== false) return;
    throw new PiholeError(
      `Pi-hole at ${this.base} is back, but its DNS could not start: see its Tools, Pi-hole diagnosis, and its setting misc.dnsmasq_lines.`,
    );
  }

  private async pause(milliseconds: number): Promise<void> {
    try {
      await pause(milliseconds, undefined, this.signal ? { signal: this.signal } : {});
    } catch {
      throw new PiholeError(`Pi-hole at ${this.base} was not waited for: the run was interrupted.`);
    }
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
      return new SessionEndedError(
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
      const setting = hint ?? "dns.hosts";
      return new PiholeError(
        `Pi-hole's ${setting} is fixed by FTLCONF_${setting.replaceAll(".", "_")} in its container: take that variable away, or put the record into it.`,
      );
    }
    if (message.includes("read-only mode")) {
      return new PiholeError(
        "Pi-hole's settings are read-only: set misc.readOnly to false in its pihole.toml, or put the record in by hand.",
      );
    }
    if (message === "Invalid configuration") {
      return new PiholeError(
        `Pi-hole's dnsmasq refuses its settings with the new lines${hint ? ` (${hint})` : ""}: nothing was changed. The line that it names may be somebody else's, in misc.dnsmasq_lines or /etc/dnsmasq.d.`,
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
