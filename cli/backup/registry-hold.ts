import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../errors.ts";
import type { Bars } from "../transfer/bars.ts";
import { beatInto, complaint, type Place, scriptCommand } from "./in-pod.ts";

/** Milliseconds to wait for the pod to say that it has given all back. */
const RELEASED_WITHIN = 30_000;

/**
 * Holds the registry's writes and collections, from a process in its pod that ends with this one: by the beat that it hears
 * no more, if by nothing else.
 */
export class RegistryHold {
  private readonly stdin = new PassThrough();
  private readonly answers: string[] = [];
  private waiting: PromiseWithResolvers<string> | undefined;
  private ended: Promise<void> | undefined;
  private failure: Error | undefined;
  private releasing = false;
  private stopBeat = () => {};
  /** When writes were held, and given back. */
  private readonly since = Date.now();
  private until: number | undefined;

  /**
   * Holds them, once those that are under way have ended; `told` hears how many it waits for. Ends all that `stop` is the
   * end of when it is lost before its time.
   */
  static async take(place: Place, told: (writers: string) => void, stop: AbortController): Promise<RegistryHold> {
    const hold = new RegistryHold();
    hold.run(place, stop);
    try {
      for (;;) {
        const [word, writers = ""] = (await hold.answer()).split(" ");
        if (word === "held") return hold;
        told(writers);
      }
    } catch (error) {
      await hold.release();
      throw error;
    }
  }

  /** The same, told to a person. */
  static takeTelling(place: Place, { tell }: Pick<Bars, "tell">, stop: AbortController): Promise<RegistryHold> {
    return RegistryHold.take(place, (writers) => tell(`waiting for pushes to end: ${writers}`), stop);
  }

  /** Seconds for which writes were held so far. */
  get seconds(): number {
    return Math.round(((this.until ?? Date.now()) - this.since) / 1000);
  }

  /** Asks for something; returns the numbers of the answer. */
  async ask(word: "snapshot" | "share" | "swap"): Promise<number[]> {
    this.stdin.write(`${word}\n`);
    const [, ...numbers] = (await this.answer()).split(" ");
    if (word !== "snapshot") this.until = Date.now();
    return numbers.map(Number);
  }

  /** Removes a blob from what is to be swapped in. */
  drop(digest: string): void {
    this.stdin.write(`drop ${digest.replace("sha256:", "")}\n`);
  }

  /** Gives it all back. What had not been swapped in is gone then. */
  async release(): Promise<void> {
    if (!this.releasing) {
      this.releasing = true;
      this.until ??= Date.now();
      this.stopBeat();
      this.stdin.end("end\n");
    }
    // Without a connection nobody answers; the pod does the same by itself then.
    await Promise.race([this.ended, sleep(RELEASED_WITHIN, undefined, { ref: false })]);
  }

  private run({ kube, pod, container }: Place, stop: AbortController): void {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const said = text(stderr);
    stop.signal.addEventListener("abort", () => this.waiting?.reject(stop.signal.reason), { once: true });
    this.stdin.on("error", () => undefined);
    this.stopBeat = beatInto(this.stdin);
    createInterface(stdout).on("line", (line) => this.hear(line));
    const run = async () => {
      const command = scriptCommand("registry-pod", "hold");
      const code = await kube.exec(pod, container, command, { stdin: this.stdin, stdout, stderr });
      stderr.end();
      throw new UserError(
        complaint("registry-pod", await said) || `the hold of the registry's writes ended with ${code}`,
      );
    };
    this.ended = run().catch((error: Error) => {
      this.stopBeat();
      this.failure = error;
      this.waiting?.reject(error);
      if (!this.releasing) stop.abort(error);
    });
  }

  private hear(line: string): void {
    if (this.waiting) this.waiting.resolve(line);
    else this.answers.push(line);
    this.waiting = undefined;
  }

  private answer(): Promise<string> {
    const there = this.answers.shift();
    if (there !== undefined) return Promise.resolve(there);
    if (this.failure) return Promise.reject(this.failure);
    this.waiting = Promise.withResolvers();
    return this.waiting.promise;
  }
}
