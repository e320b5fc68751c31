import { Command, CommanderError } from "commander";
import { printAnswer } from "./answer.ts";
import { addBackup } from "./commands/backup.ts";
import { addCompletion } from "./commands/completion.ts";
import { addEnv } from "./commands/env.ts";
import { addGc } from "./commands/gc.ts";
import { addInspect } from "./commands/inspect.ts";
import { addLogin } from "./commands/login.ts";
import { addLogout } from "./commands/logout.ts";
import { addLs } from "./commands/ls.ts";
import { addPull } from "./commands/pull.ts";
import { addPush } from "./commands/push.ts";
import { addRestore } from "./commands/restore.ts";
import { addRm } from "./commands/rm.ts";
import { addRotate } from "./commands/rotate.ts";
import { addStatus } from "./commands/status.ts";
import { addUsage } from "./commands/usage.ts";
import { addVerify } from "./commands/verify.ts";
import { EXIT, UserError } from "./errors.ts";
import { plain } from "./plain.ts";

/** `homecloud`: the commands for the day after. */
export function buildProgram(): Command {
  const program = new Command("homecloud")
    .description("Runs a Homecloud day by day: what is there, what it needs, and whether it all works.")
    .option("--context <name>", "context of the kubeconfig (default: its current one)")
    .option("-n, --namespace <name>", "the registry's namespace, where a cluster holds several deployments")
    .option("--json", "print JSON for scripts")
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: (text) => printAnswer(text.trimEnd()) })
    .exitOverride();
  for (const add of [
    addStatus,
    addLs,
    addInspect,
    addRm,
    addUsage,
    addGc,
    addBackup,
    addRestore,
    addPush,
    addPull,
    addLogin,
    addLogout,
    addEnv,
    addRotate,
    addVerify,
    addCompletion,
  ])
    add(program);
  return program;
}

/** Runs a command line; returns its exit code. A person's mistake ends in its message alone. */
export async function main(args: string[]): Promise<number> {
  try {
    await buildProgram().parseAsync(args, { from: "user" });
    // A command that answers, and has found something amiss, sets its own.
    return Number(process.exitCode ?? EXIT.done);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    // Ctrl-C at a question of @inquirer/prompts, which is loaded where it is asked.
    if (error instanceof Error && error.name === "ExitPromptError") {
      console.error("homecloud: there was no answer, and nothing was done");
      return EXIT.declined;
    }
    if (error instanceof UserError) console.error(plain(`homecloud: ${error.message}`));
    else console.error(error);
    return error instanceof UserError ? error.exitCode : EXIT.failed;
  }
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
