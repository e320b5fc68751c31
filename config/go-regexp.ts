/** Longest pattern that is looked at. Go has limits of its own on depth and size, far above it. */
const MAX_LENGTH = 500;
/** Go refuses more repetitions than this, those of nested groups multiplied. */
const MAX_REPEAT = 1000;

const NAMED_CLASS =
  /\[:\^?(?:alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]/gu;

/** What a pattern consists of, and what becomes of each part. `\` is none of it: see `isGoRegexp`. */
const GROUP = /\((?!\?)|\(\?P<\w+>|\(\?(?:[imsU]*|[imsU]*-[imsU]+):/uy;
const FLAGS = /\(\?(?:[imsU]+|[imsU]*-[imsU]+)\)/uy;
const CLASS = /\[\^?(?<items>\]?(?:\[:\^?\w+:\]|\[(?!:)|[^[\]])*)\]/uy;
const REPEAT = /(?:[*+?]|\{(?<min>0|[1-9]\d*)(?:,(?<max>0|[1-9]\d*)?)?\})\??/uy;
const LITERAL = /[^()[*+?|\\]/suy;

/**
 * Whether Go's regexp compiles this pattern: RE2's syntax, without lookaround, backreferences, and possessive or atomic
 * groups. Strict rather than complete, and without `\`: K3s could not pass it on.
 * Source: https://pkg.go.dev/regexp/syntax
 */
export function isGoRegexp(pattern: string): boolean {
  return pattern.length <= MAX_LENGTH && new Reader(pattern).isValid();
}

/** Walks through a pattern once. */
class Reader {
  private offset = 0;
  private readonly pattern: string;
  /** Repetitions in each open group, the innermost last. */
  private readonly open: number[] = [1];
  /** Repetitions inside what stands before; undefined where there is nothing that `*` could repeat. */
  private last: number | undefined;

  constructor(pattern: string) {
    this.pattern = pattern;
  }

  isValid(): boolean {
    while (this.offset < this.pattern.length) if (!this.step()) return false;
    return this.open.length === 1;
  }

  private step(): boolean {
    if (this.take(GROUP)) return this.enter();
    if (this.take(/\)/uy)) return this.leave();
    if (this.take(FLAGS) || this.take(/\|/uy)) return this.ends();
    const repeat = this.take(REPEAT);
    if (repeat) return this.repeat(repeat.groups);
    const items = this.take(CLASS)?.groups?.items;
    if (items !== undefined) return this.atom() && areClassItems(items);
    return this.take(LITERAL) !== undefined && this.atom();
  }

  private take(token: RegExp): RegExpExecArray | undefined {
    token.lastIndex = this.offset;
    const found = token.exec(this.pattern) ?? undefined;
    if (found) this.offset = token.lastIndex;
    return found;
  }

  private enter(): boolean {
    this.open.push(1);
    return this.ends();
  }

  private leave(): boolean {
    if (this.open.length === 1) return false;
    const inside = this.open.pop() ?? 1;
    this.grow(inside);
    this.last = inside;
    return true;
  }

  private repeat(bounds: Record<string, string> | undefined): boolean {
    if (this.last === undefined) return false;
    const min = Number(bounds?.min ?? 1);
    const max = Number(bounds?.max ?? min);
    const repeated = this.last * Math.max(max, 1);
    if (min > max || repeated > MAX_REPEAT) return false;
    this.grow(repeated);
    return this.ends();
  }

  /** `**` is an error in Go: nothing that repeats is repeated. */
  private ends(): boolean {
    this.last = undefined;
    return true;
  }

  private atom(): boolean {
    this.last = 1;
    return true;
  }

  private grow(repetitions: number): void {
    this.open.push(Math.max(this.open.pop() ?? 1, repetitions));
  }
}

/** The inside of `[…]`: named classes that exist, and ranges that go upwards. */
function areClassItems(items: string): boolean {
  // In the place of a named class stands what is lower than all that can be written: it begins no wrong range.
  const rest = items.replaceAll(NAMED_CLASS, "\0");
  const ranges = [...rest.matchAll(/(.)-(.)/gsu)];
  return items !== "" && !rest.includes("[:") && ranges.every(([, low, high]) => codePoint(low) <= codePoint(high));
}

const codePoint = (character = ""): number => character.codePointAt(0) ?? 0;
