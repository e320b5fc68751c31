import { execa } from "execa";
import { expect } from "vitest";
import type { Plan } from "../../cli/rotate/plan.ts";
import { HOMECLOUD } from "../integration/cluster-stand-in.ts";
import { lab } from "./cluster.ts";

/** `homecloud rotate` for the registry in this namespace, as a person types it. */
export const rotate = (namespace: string, args: string[], input = "") =>
  execa(HOMECLOUD, ["--namespace", namespace, "rotate", ...args], {
    env: { KUBECONFIG: lab.kubeconfig },
    reject: false,
    input,
  });

/** What it lists for a new password, pull-only user or CA. */
export async function planOf(namespace: string, what: string): Promise<Plan> {
  const { exitCode, stdout, stderr } = await rotate(namespace, [what, "--json"]);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout) as Plan;
}
