import { SingleBar } from "cli-progress";

/** A bar on the terminal's error stream; nothing where that is no terminal, or `quiet`. */
export function progressBar(what: string, total: number, quiet = false): Pick<SingleBar, "increment" | "stop"> {
  if (quiet || !process.stderr.isTTY) return { increment: () => {}, stop: () => {} };
  const bar = new SingleBar({
    format: `${what} [{bar}] {value}/{total}`,
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
  });
  bar.start(total, 0);
  return bar;
}
