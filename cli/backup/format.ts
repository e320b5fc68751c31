import { z } from "zod";

/**
 * What a backup is: one tar. First `backup.json`, then the files of each part below a folder of its name, at the end
 * `SHA256SUMS` over every file, as `sha256sum -c` reads it.
 */
export const FORMAT = 1;

export const CONTENTS = "backup.json";
export const SUMS = "SHA256SUMS";

export const PARTS = ["registry", "localstack"] as const;
export type PartName = (typeof PARTS)[number];

const size = z.number().int().nonnegative();

const contents = z.object({
  homecloudBackup: z.literal(FORMAT),
  /** When it was begun. */
  time: z.iso.datetime(),
  stack: z.string(),
  registry: z
    .object({
      /** Bytes of the blobs, and how many there are. */
      bytes: size,
      blobs: size,
      image: z.string(),
    })
    .optional(),
  localstack: z
    .object({
      /** About: it was measured while LocalStack was running. */
      bytes: size,
      edition: z.enum(["community", "pro", "ephemeral"]),
      image: z.string(),
    })
    .optional(),
});

export type Contents = z.infer<typeof contents>;
export type Edition = NonNullable<Contents["localstack"]>["edition"];

/** What is wrong with a stream that is to be restored. The text ends a sentence that begins with its name. */
export class NoBackup extends Error {}

export function parseContents(text: string): Contents {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    throw new NoBackup(`is no backup of homecloud's: its ${CONTENTS} is no JSON`);
  }
  const format = z.object({ homecloudBackup: z.number() }).safeParse(raw).data?.homecloudBackup;
  if (format === undefined) throw new NoBackup(`is no backup of homecloud's: its ${CONTENTS} names no format`);
  if (format > FORMAT) {
    throw new NoBackup(
      `was made by a newer homecloud (format ${format}, this one reads ${FORMAT}): restore it with that`,
    );
  }
  const parsed = contents.safeParse(raw);
  if (!parsed.success) throw new NoBackup(`has a ${CONTENTS} that cannot be read: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** A line of SHA256SUMS, with the marks that sha256sum itself sets where a name has a backslash or a line's end. */
export function sumLine(sha256: string, name: string): string {
  const escaped = name.replace(/[\\\n\r]/g, (found) => ({ "\\": "\\\\", "\n": "\\n", "\r": "\\r" })[found] ?? found);
  return `${escaped === name ? "" : "\\"}${sha256}  ${escaped}\n`;
}

/** The SHA-256 that a file of the registry carries in its name; undefined where it is none of the blobs. */
export function blobDigest(name: string): string | undefined {
  return /^registry\/docker\/registry\/v2\/blobs\/sha256\/..\/([0-9a-f]{64})\/data$/.exec(name)?.[1];
}

/** The part that a name in the tar belongs to, and the name within it. Throws where it is none, or leads out of it. */
export function placeOf(name: string): { part: PartName; path: string } {
  const [part, ...rest] = name.replace(/\/+$/, "").split("/");
  if (!PARTS.some((known) => known === part) || rest.some((each) => each === ".." || each === "." || each === "")) {
    throw new NoBackup(`is no backup of homecloud's, or damaged: it holds a file ${JSON.stringify(name)}`);
  }
  return { part: part as PartName, path: rest.join("/") };
}

/** `homecloud-homelab-20261121T210000Z.tar` */
export function fileName({ stack, time }: Pick<Contents, "stack" | "time">): string {
  const compact = time.replace(/\.\d+/, "").replace(/[-:]/g, "");
  return `homecloud-${stack.replace(/[^\w.-]/g, "_")}-${compact}.tar`;
}
