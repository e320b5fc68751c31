import { z } from "zod";

const count = z.number().int().nonnegative();

/** What a collection has freed, or a dry run would. */
const freed = {
  /** Bytes. */
  freed: count,
  /** Manifests that nothing names. */
  manifests: count,
  blobs: count,
  /** Uploads that nobody ends. */
  uploads: count,
  /** Bytes that the volume holds. */
  used: count,
};

/** The lines that collect-garbage.sh prints with --porcelain. */
const step = z.discriminatedUnion("step", [
  z.object({ step: z.literal("holding") }),
  /** Writes that are under way; `unknown` where the relay does not answer. */
  z.object({ step: z.literal("waiting"), writers: z.string() }),
  /** No write is under way any more. */
  z.object({ step: z.literal("drained") }),
  z.object({ step: z.literal("mark"), done: count, of: count }),
  z.object({ step: z.literal("sweep"), done: count, of: count }),
  /** `seconds`: how long pushes waited. */
  z.object({ step: z.literal("done"), ...freed, seconds: count }),
  z.object({ step: z.literal("found"), ...freed }),
]);

export type Step = z.infer<typeof step>;
export type Result = Extract<Step, { step: "done" | "found" }>;

/** A line of the script's; undefined where it is none of its steps: a pod of another version may say more. */
export function parseStep(line: string): Step | undefined {
  try {
    return step.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

const SPEAKER = "collect-garbage: ";

/** What the script complained of, as a sentence; else whatever its shell did. */
export function complaint(stderr: string): string {
  const lines = stderr.split("\n").map((line) => line.trim());
  const own = lines.filter((line) => line.startsWith(SPEAKER)).map((line) => line.slice(SPEAKER.length));
  return (own.length > 0 ? own : lines.filter((line) => line !== "")).join("; ");
}

/** Whether the script takes it for an age. */
export const isAge = (text: string): boolean => /^(0|[1-9]\d{0,5})[mhd]$/.test(text);
