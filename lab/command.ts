import { ConfigError } from "../config/load.ts";
import { LabError } from "./error.ts";

/** Runs a command's work. A person's mistake ends in its message alone; anything else is a fault of ours, with its stack. */
export async function runCommand(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    process.exitCode = 1;
    if (error instanceof LabError || error instanceof ConfigError) console.error(error.message);
    else console.error(error);
  }
}
