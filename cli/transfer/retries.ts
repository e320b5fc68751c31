import { setTimeout as sleep } from "node:timers/promises";
import { RegistryError } from "../registry/client.ts";

export interface RetryOptions {
  /** Tells a person what is waited for. */
  tell?: (text: string) => void;
  /** Tries in a row that bring nothing new, where the registry names no time. */
  tries?: number;
  /** Pause after the first of them, in milliseconds; doubled each time. */
  pause?: number;
  /** How long, in milliseconds, is waited in a row where the registry says when: while it collects garbage. */
  patience?: number;
}

/** How often and how long one thing was tried in vain. */
export interface Failures {
  count: number;
  waited: number;
}

/** Tries again where that can help: the connection broke, the registry is busy, restarting or collecting garbage. */
export class Retries {
  private readonly options: Required<RetryOptions>;
  private readonly toldAt = new Map<string, number>();
  private readonly ending = new AbortController();

  constructor(options: RetryOptions = {}) {
    this.options = { tell: () => {}, tries: 5, pause: 1000, patience: 15 * 60_000, ...options };
  }

  /** Ends what is waited for: one transfer has failed for good, and the others are of no use any more. */
  stop(): void {
    this.ending.abort();
  }

  get stopped(): boolean {
    return this.ending.signal.aborted;
  }

  /** Tries until it works. Throws the last error where it was no use to go on. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    for (const failures: Failures = { count: 0, waited: 0 }; ; ) {
      try {
        return await work();
      } catch (error) {
        await this.pause(error, failures);
      }
    }
  }

  /** Waits as long as this error asks for. Throws it where another try would not help, or enough were made. */
  async pause(error: unknown, failures: Failures): Promise<void> {
    const { tries, pause, patience } = this.options;
    if (!(error instanceof RegistryError) || !mayPass(error) || this.stopped) throw error;
    const { retryAfter } = error;
    const wait = retryAfter === undefined ? pause * 2 ** failures.count : retryAfter * 1000;
    const enough = retryAfter === undefined ? failures.count + 1 >= tries : failures.waited + wait > patience;
    if (enough) throw error;
    failures.count += retryAfter === undefined ? 1 : 0;
    failures.waited += wait;
    this.tell(`${error.message}: trying again in ${Math.ceil(wait / 1000)} s`);
    await sleep(wait, undefined, { signal: this.ending.signal }).catch(() => {
      throw error;
    });
  }

  /** Several transfers wait for the same: a person is told once. */
  private tell(text: string): void {
    const now = Date.now();
    if (now - (this.toldAt.get(text) ?? 0) < 5000) return;
    this.toldAt.set(text, now);
    this.options.tell(text);
  }
}

const mayPass = ({ status }: RegistryError): boolean => status === undefined || status === 429 || status >= 500;
