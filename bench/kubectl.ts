import { execa } from "execa";
import type { Lab } from "../lab/lab.ts";

/** Runs kubectl on the lab and returns what it prints. */
export type Kubectl = (args: string[], options?: { input?: string }) => Promise<string>;

export function kubectlOn(lab: Lab): Kubectl {
  return async (args, { input = "" } = {}) => (await execa(lab.bin("kubectl"), args, { input, env: lab.env })).stdout;
}
