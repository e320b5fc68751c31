import { execa } from "execa";
import type { TestProject } from "vitest/node";
import { LabError, prepareTools, stopLab } from "../../lab/lab.ts";
import { testTools } from "../tools.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** What `npm start` printed. */
    startOutput: string;
  }
}

/**
 * Runs `npm start` as a person does, in a lab of the tests' own (HOMECLOUD_STATE; KEEP_LAB=1 leaves it running). Without
 * Pulumi on PATH, so that the render is what is deployed: the engine has tests of its own.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const keep = process.env.KEEP_LAB === "1";
  try {
    await testTools();
    await prepareTools((line) => console.error(line));
  } catch (error) {
    throw error instanceof LabError ? new Error(error.message) : error;
  }
  // What a run that was killed has left.
  if (!keep) await stopLab({ deleteState: true, quiet: true });
  const start = await execa("npm", ["start"], { env: { HOMECLOUD_ENGINE: "render" }, all: true, reject: false });
  if (start.exitCode !== 0) throw new Error(`npm start failed:\n${start.all}`);
  project.provide("startOutput", start.all);
  return async () => {
    if (!keep) await stopLab({ deleteState: true, quiet: true });
  };
}
