import { InvalidArgumentError } from "commander";
import { EXIT, UserError } from "../errors.ts";
import { PARTS, type PartName } from "./format.ts";

/** What `backup` and `restore` have in common. */
export interface PartOptions {
  only?: PartName;
  yes?: boolean;
}

export function partName(text: string): PartName {
  const found = PARTS.find((part) => part === text);
  if (!found) throw new InvalidArgumentError("It is one of: registry, localstack.");
  return found;
}

/** What a killed command leaves to do. */
export const LEFT =
  "the registry gives writes back by itself; LocalStack may still be scaled to 0: homecloud status shows it, and the next homecloud backup or restore brings it back";

/** Asks, on the error stream, as stdout may be what a backup goes to. Throws a UserError where the answer is no, or nobody is there. */
export async function agree(message: string, { yes }: PartOptions, canAsk: boolean): Promise<void> {
  if (yes) return;
  if (!canAsk) throw new UserError(`${message} There is no terminal to ask at: say --yes`, EXIT.usage);
  const { confirm } = await import("@inquirer/prompts");
  if (!(await confirm({ message, default: false }, { output: process.stderr }))) {
    throw new UserError("nothing was done", EXIT.declined);
  }
}
