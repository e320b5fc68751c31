import { EXIT } from "./errors.ts";

/** Prints what a command answers. */
export function printAnswer(text: string): void {
  if (!process.stdout.listeners("error").includes(endWithReader)) process.stdout.on("error", endWithReader);
  process.stdout.write(`${text}\n`);
}

/** `homecloud ls | head` has what it wanted. */
function endWithReader(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
  process.exit(EXIT.done);
}
