import { execa } from "execa";
import { LabError } from "./error.ts";
import { describeLab, labStatus, startLab, stopLab } from "./lab.ts";

const USAGE = "usage: node lab/cli.ts up | down [--delete] [--cache] | status | run COMMAND … | kubectl …";

async function main([command, ...args]: string[]): Promise<number> {
  switch (command) {
    case "up":
      console.log((await startLab()).kubeconfig);
      return 0;
    case "down":
      await stopLab({ deleteState: args.includes("--delete"), deleteCache: args.includes("--cache") });
      return 0;
    case "status":
      console.table((await labStatus()).services);
      return 0;
    case "kubectl":
      return runTool("kubectl", args);
    case "run":
      return runTool(args[0] ?? "", args.slice(1));
    default:
      console.error(USAGE);
      return 2;
  }
}

/** Runs a tool of the lab's as if it were on PATH. */
async function runTool(name: string, args: string[]): Promise<number> {
  const { bin, env } = describeLab();
  const { exitCode } = await execa(bin(name), args, { env, stdio: "inherit", reject: false });
  return exitCode ?? 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof LabError ? error.message : error);
  process.exitCode = 1;
}
