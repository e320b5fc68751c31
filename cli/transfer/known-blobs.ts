import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

/** What a plain layer becomes when it is compressed. */
export interface Packed {
  digest: string;
  size: number;
}

interface Content {
  /** For each registry: in which repository a blob was seen. */
  repositories: Record<string, Record<string, string>>;
  /** By the digest of the plain layer. */
  packed: Record<string, Packed>;
}

/** Entries that are kept of each kind: the newest. */
const KEPT = 5000;

/**
 * What earlier pushes of this person's have learned, so that a layer which the registry has is neither compressed nor sent
 * again. Only hints: each is checked with the registry, and a lost or broken file costs time alone.
 */
export class KnownBlobs {
  private readonly file: string;
  private readonly host: string;
  private readonly content: Content;

  private constructor(file: string, host: string, content: Content) {
    this.file = file;
    this.host = host;
    this.content = content;
  }

  static async load(host: string, file = stateFile("blobs.json")): Promise<KnownBlobs> {
    const text = await readFile(file, "utf8").catch(() => "{}");
    return new KnownBlobs(file, host, { repositories: {}, packed: {}, ...parsed(text) });
  }

  /** A repository that had this blob. */
  repositoryOf(digest: string): string | undefined {
    return this.content.repositories[this.host]?.[digest];
  }

  /** What a plain layer became. */
  packedOf(diffId: string): Packed | undefined {
    return this.content.packed[diffId];
  }

  seen(digest: string, repository: string): void {
    const seen = this.content.repositories[this.host] ?? {};
    seen[digest] = repository;
    this.content.repositories[this.host] = seen;
  }

  packed(diffId: string, packed: Packed): void {
    this.content.packed[diffId] = packed;
  }

  async save(): Promise<void> {
    const repositories = Object.fromEntries(
      Object.entries(this.content.repositories).map(([host, blobs]) => [host, newest(blobs)]),
    );
    const part = `${this.file}.${process.pid}`;
    try {
      await mkdir(dirname(this.file), { recursive: true, mode: 0o700 });
      await writeFile(part, JSON.stringify({ repositories, packed: newest(this.content.packed) }), { mode: 0o600 });
      await rename(part, this.file);
    } catch {
      // The push is done: that the next one may be slower is not worth a word.
    }
  }
}

const newest = <T>(record: Record<string, T>): Record<string, T> =>
  Object.fromEntries(Object.entries(record).slice(-KEPT));

function parsed(text: string): Partial<Content> {
  try {
    const content = JSON.parse(text) as Partial<Content> | null;
    return typeof content === "object" && content !== null ? content : {};
  } catch {
    return {};
  }
}

/** A file of ours that may be lost. Source: https://specifications.freedesktop.org/basedir-spec/latest/ */
const stateFile = (name: string): string =>
  join(process.env.XDG_STATE_HOME || join(homedir(), ".local", "state"), "homecloud", name);
