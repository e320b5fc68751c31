import { EXIT, UserError } from "../errors.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Runs work that has to put things right at its end: Ctrl-C ends it through the controller that it is given, and a second
 * one at once. `left` says what is then still to be done.
 */
export async function interruptible<T>(left: string, work: (stop: AbortController) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const interrupted = () => {
    if (stop.signal.aborted) {
      console.error(`homecloud: ${left}`);
      process.exit(EXIT.failed);
    }
    console.error("homecloud: ending it, and putting everything back: this takes some seconds");
    stop.abort(new UserError("it was ended before its time"));
  };
  for (const signal of SIGNALS) process.on(signal, interrupted);
  try {
    return await work(stop);
  } catch (error) {
    // Whatever broke because of it is not the reason.
    if (stop.signal.aborted) throw stop.signal.reason;
    throw error;
  } finally {
    for (const signal of SIGNALS) process.off(signal, interrupted);
  }
}
