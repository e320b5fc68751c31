import type { Command } from "commander";
import { withContext } from "../context.ts";
import { EXIT } from "../errors.ts";
import { readStatus } from "../status/read.ts";
import { renderStatus } from "../status/screen.ts";

export function addStatus(program: Command): void {
  program
    .command("status")
    .summary("show what is deployed and how it is")
    .description(
      "Shows the components with versions and addresses, certificates, storage and nodes, on one screen. Ends with 1 where something is not ready.",
    )
    .addHelpText("after", "\nExamples:\n  homecloud status\n  homecloud status --context home --json")
    .action(
      withContext<[]>(async (context) => {
        const status = await readStatus(context.kube, await context.deployment());
        context.print(status, renderStatus(status, new Date()));
        if (status.workloads.some(({ ready }) => !ready)) process.exitCode = EXIT.failed;
      }),
    );
}
