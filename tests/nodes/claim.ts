import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readIfThere } from "../../lab/files.ts";
import { withLock } from "../../lab/lock.ts";
import { parseStartTime } from "../../lab/processes.ts";
import { Network } from "./network.ts";

const FLEETS = "/run/homecloud-fleets";
/** How many fleets there can be at once: test runs of several people on one machine. */
const MOST = 16;

/** A process that is known again: a pid alone is given to another after its end. */
interface Identity {
  pid: number;
  startTime: string;
  bootId: string;
}

/** What is known of a fleet, written before there is anything to undo. */
interface Record {
  owner: Identity;
  /** How many nodes there were to be. */
  size: number;
}

/**
 * The right to one network and one folder, which a test run that was killed loses to the next. Its nodes have ended with
 * it (lab/k3s/machine.go).
 */
export class Claim {
  readonly folder: string;
  readonly network: Network;
  private readonly record: Record;

  private constructor(number: number, record: Record) {
    this.folder = join(FLEETS, String(number));
    this.network = new Network(number);
    this.record = record;
  }

  /** Takes the first network that nobody has, and removes what killed runs have left. */
  static async take(size: number): Promise<Claim> {
    const owner = await identify(process.pid);
    if (!owner) throw new Error("/proc does not show this process");
    const say = () => {};
    return withLock(FLEETS, say, async () => {
      const claims = Array.from({ length: MOST }, (_, number) => new Claim(number, { owner, size }));
      for (const claim of claims) await claim.removeLeftovers();
      const obstacles: string[] = [];
      for (const claim of claims) {
        const obstacle = await claim.obstacle();
        if (obstacle === undefined) return claim.begin();
        obstacles.push(obstacle);
      }
      throw new Error(`no network is free for test nodes:\n${obstacles.join("\n")}`);
    });
  }

  async release(): Promise<void> {
    await this.network.remove(this.record.size);
    await rm(this.folder, { recursive: true, force: true });
  }

  private async removeLeftovers(): Promise<void> {
    const former = await this.formerRecord();
    if (!former || (await isAlive(former.owner))) return;
    await this.network.remove(former.size);
    await rm(this.folder, { recursive: true, force: true });
  }

  private async obstacle(): Promise<string | undefined> {
    const former = await this.formerRecord();
    if (former) return `${this.network.gateway}/24 is process ${former.owner.pid}'s, for nodes of its own`;
    const taken = await this.network.takenBy();
    return taken && `${this.network.gateway}/24 is in use by the interface ${taken}`;
  }

  private async begin(): Promise<Claim> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    await writeFile(this.recordPath, JSON.stringify(this.record));
    await this.network.create();
    return this;
  }

  private async formerRecord(): Promise<Record | undefined> {
    const text = await readIfThere(this.recordPath);
    return text === undefined ? undefined : (JSON.parse(text) as Record);
  }

  private get recordPath(): string {
    return join(this.folder, "fleet.json");
  }
}

async function isAlive({ pid, startTime, bootId }: Identity): Promise<boolean> {
  const found = await identify(pid);
  return found?.startTime === startTime && found.bootId === bootId;
}

async function identify(pid: number): Promise<Identity | undefined> {
  const stat = await readIfThere(`/proc/${pid}/stat`);
  const startTime = stat === undefined ? undefined : parseStartTime(stat);
  const bootId = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  return startTime === undefined ? undefined : { pid, startTime, bootId };
}
