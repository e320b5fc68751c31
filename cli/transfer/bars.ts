import { MultiBar, Presets } from "cli-progress";
import { plain } from "../plain.ts";
import { bytes } from "../units.ts";

/** How one part of a transfer goes. */
export interface Bar {
  /** Where it stands, in bytes. */
  at(position: number): void;
  /** How it ended. */
  end(how: string): void;
}

/** What a person sees while layers move: bars on a terminal, a line for each that is done elsewhere, nothing with --json. */
export interface Bars {
  start(name: string, total: number): Bar;
  /** A line of text beside the bars. */
  tell(text: string): void;
  /** The last of it: nothing is drawn from here on. */
  stop(): void;
}

const NAME_WIDTH = 14;

/** `sha256:0123456789ab…` as people know it from Docker. */
export const shortDigest = (digest: string): string => digest.replace("sha256:", "").slice(0, 12);

export function makeBars(quiet: boolean): Bars {
  if (quiet) return { start: () => ({ at: () => {}, end: () => {} }), tell: () => {}, stop: () => {} };
  return process.stderr.isTTY ? terminalBars() : lines();
}

function lines(): Bars {
  const tell = (text: string) => console.error(plain(text));
  const start = (name: string, total: number) => ({
    at: () => {},
    end: (how: string) => tell(`${name.padEnd(NAME_WIDTH)}${how} (${bytes(total)})`),
  });
  return { start, tell, stop: () => {} };
}

function terminalBars(): Bars {
  const format = "{name} [{bar}] {done} of {size} {how}";
  const options = { format, stream: process.stderr, hideCursor: true, linewrap: false, barsize: 30, fps: 5 };
  const all = new MultiBar({ ...options, clearOnComplete: false, gracefulExit: true }, Presets.rect);
  const start = (name: string, total: number): Bar => {
    // A bar of nothing would be empty for ever.
    const shown = { name: name.padEnd(NAME_WIDTH), size: bytes(total), done: bytes(0), how: "" };
    const bar = all.create(Math.max(total, 1), 0, shown);
    const at = (position: number) => bar.update(position, { done: bytes(position) });
    const end = (how: string) => bar.update(Math.max(total, 1), { done: bytes(total), how });
    return { at, end };
  };
  let stopped = false;
  // A second time it would take the cursor back up, into the answer.
  const stop = () => {
    if (!stopped) all.stop();
    stopped = true;
  };
  return { start, tell: (text) => all.log(`${plain(text)}\n`), stop };
}
