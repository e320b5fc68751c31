import { execa } from "execa";
import type { TestProject } from "vitest/node";
import { importImage, LabError, stopLab } from "../../lab/lab.ts";
import { isOnPath, pathOf } from "../optional.ts";
import { allTools } from "../tools.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** What `npm start` printed, and how long it took: infinite with KEEP_LAB, where the cluster may have run already. */
    start: { output: string; seconds: number };
  }
}

/**
 * Runs `npm start` as a person does, in a lab of the tests' own (HOMECLOUD_STATE; KEEP_LAB=1 leaves it running). Without
 * Pulumi on PATH, so that the render is what is deployed: the engine has tests of its own.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const keep = process.env.KEEP_LAB === "1";
  try {
    await allTools();
  } catch (error) {
    throw error instanceof LabError ? new Error(error.message) : error;
  }
  // What a run that was killed has left.
  if (!keep) await stopLab({ deleteState: true, quiet: true });
  const begun = performance.now();
  const start = await execa("npm", ["start"], { env: { HOMECLOUD_ENGINE: "render" }, all: true, reject: false });
  if (start.exitCode !== 0) throw new Error(`npm start failed:\n${start.all}`);
  project.provide("start", { output: start.all, seconds: keep ? Infinity : (performance.now() - begun) / 1000 });
  for (const archive of ["localstack-persist.tar", "docker-registry-ui.tar"])
    if (isOnPath(archive)) await importImage(pathOf(archive));
  return async () => {
    if (!keep) await stopLab({ deleteState: true, quiet: true });
  };
}
