import type { Readable } from "node:stream";
import { type Pack, pack } from "tar-stream";
import { UserError } from "../errors.ts";
import type { Bars } from "../transfer/bars.ts";
import { bytes as size } from "../units.ts";
import type { ArchiveReader } from "./archive.ts";
import type { PartName } from "./format.ts";
import { type Place, type Taker, writeTo } from "./in-pod.ts";
import { type LocalStackFacts, LocalStackPause } from "./localstack-pause.ts";
import { RegistryHold } from "./registry-hold.ts";

/** Where a part of a backup goes: beside what is there, and into its place only once all of the backup is known to be whole. */
interface Target {
  readonly tar: Pack;
  /** All of it has come. */
  complete(): Promise<void>;
  /** Takes the place of what was there. */
  swap(broken: string[]): Promise<void>;
  /** Everything as it was, but for what was swapped. */
  end(): Promise<void>;
}

export interface Targets {
  registry: Place | undefined;
  localstack: LocalStackFacts | undefined;
}

/** What was restored. */
export interface Restored {
  registry: { files: number; writesHeldSeconds: number; dropped: string[] } | undefined;
  localstack: { files: number; awaySeconds: number } | undefined;
}

/** Puts these parts of a backup into the place of what is there. Until the last byte has been checked nothing is changed. */
export async function putBack(
  reader: ArchiveReader,
  targets: Targets,
  bars: Bars,
  stop: AbortController,
): Promise<Restored> {
  const open: { registry?: RegistryTarget; localstack?: LocalStackTarget } = {};
  const files = { registry: 0, localstack: 0 };
  const openTarget = async (part: PartName) => {
    if (part === "registry" && targets.registry) {
      open.registry ??= await RegistryTarget.open(targets.registry, bars, stop);
    }
    if (part === "localstack" && targets.localstack) {
      open.localstack ??= await LocalStackTarget.open(targets.localstack, stop.signal);
    }
    return open[part];
  };
  try {
    for await (const { part, header, into } of reader.entries()) {
      const target = await openTarget(part);
      if (target && header.type === "file") files[part] += 1;
      await into(target?.tar);
    }
    // A part without a file is a part all the same: what is there goes.
    for (const part of ["registry", "localstack"] as const) {
      if (reader.contents[part]) await openTarget(part);
    }
    const chosen: Target[] = [open.registry, open.localstack].filter((target) => target !== undefined);
    for (const target of chosen) await target.complete();
    await open.registry?.swap(reader.broken);
    await open.localstack?.swap().catch((error: Error) => {
      const first = open.registry ? "the registry is restored, and " : "";
      throw new UserError(`${first}LocalStack has what it had: ${error.message}. Try again with --only localstack`);
    });
  } finally {
    await endAll([open.registry, open.localstack]);
  }
  await open.localstack?.pause.untilReady(stop.signal);
  return {
    registry: open.registry && {
      ...{ files: files.registry, writesHeldSeconds: open.registry.hold.seconds, dropped: reader.broken },
    },
    localstack: open.localstack && { files: files.localstack, awaySeconds: open.localstack.pause.seconds },
  };
}

/** Each of them, also where another fails. */
async function endAll(targets: (Target | undefined)[]): Promise<void> {
  const ended = await Promise.allSettled(targets.map((target) => target?.end()));
  for (const each of ended) if (each.status === "rejected") throw each.reason;
}

/** A tar on its way into a pod. */
class Incoming {
  readonly tar = pack();
  private readonly taker: Taker;

  constructor(place: Place, name: "registry-pod" | "localstack-pod", signal: AbortSignal) {
    this.taker = writeTo(place, name, "unpack", this.tar as unknown as Readable, signal);
    this.taker.ended.catch(() => undefined);
  }

  async complete(): Promise<void> {
    this.tar.finalize();
    await this.taker.ended;
  }

  /** A connection left open would keep the pod's tar, and this program, waiting for the rest. */
  end(): void {
    this.tar.destroy();
    this.taker.leave();
  }
}

class RegistryTarget implements Target {
  readonly hold: RegistryHold;
  private readonly incoming: Incoming;

  private constructor(hold: RegistryHold, incoming: Incoming) {
    this.hold = hold;
    this.incoming = incoming;
  }

  static async open(place: Place, bars: Bars, stop: AbortController): Promise<RegistryTarget> {
    const hold = await RegistryHold.takeTelling(place, bars, stop);
    return new RegistryTarget(hold, new Incoming(place, "registry-pod", stop.signal));
  }

  get tar(): Pack {
    return this.incoming.tar;
  }

  complete(): Promise<void> {
    return this.incoming.complete();
  }

  async swap(broken: string[]): Promise<void> {
    for (const digest of broken) this.hold.drop(digest);
    await this.hold.ask("swap");
  }

  async end(): Promise<void> {
    this.incoming.end();
    await this.hold.release();
  }
}

class LocalStackTarget implements Target {
  readonly pause: LocalStackPause;
  private readonly incoming: Incoming;

  private constructor(pause: LocalStackPause, incoming: Incoming) {
    this.pause = pause;
    this.incoming = incoming;
  }

  static async open(facts: LocalStackFacts, signal: AbortSignal): Promise<LocalStackTarget> {
    const pause = await LocalStackPause.begin(facts, signal);
    return new LocalStackTarget(pause, new Incoming(pause.volume, "localstack-pod", signal));
  }

  get tar(): Pack {
    return this.incoming.tar;
  }

  complete(): Promise<void> {
    return this.incoming.complete();
  }

  async swap(): Promise<void> {
    await this.pause.run("swap");
  }

  async end(): Promise<void> {
    this.incoming.end();
    // What had come, and is not wanted any more.
    await this.pause.run("mend").catch(() => undefined);
    await this.pause.end();
  }
}

/** What is refused before anything begins. */
export function refuse(part: string, needed: number, room: { free: number; limit: number; keepFree: number }): void {
  const { free, limit, keepFree } = room;
  if (needed > limit)
    throw new UserError(`${part} may hold ${size(limit)}, and the backup has ${size(needed)}: raise its storage first`);
  if (needed > free - keepFree / 2) {
    throw new UserError(
      `the backup's ${part} has ${size(needed)}, and is unpacked beside what is there: the disk has ${size(free)} left, of which ${size(keepFree / 2)} stay free`,
    );
  }
}
