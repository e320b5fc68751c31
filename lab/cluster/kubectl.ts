import { execa } from "execa";
import { kubeconfigPath } from "../paths.ts";
import { tools } from "../tools.ts";

/** Runs kubectl as the lab's administrator and returns what it prints. */
export async function kubectl(args: string[], { input = "" } = {}): Promise<string> {
  const { bin, env } = tools();
  const { stdout } = await execa(bin("kubectl"), ["--kubeconfig", kubeconfigPath, ...args], { input, env });
  return stdout;
}
