import { type Command, Option } from "commander";
import { type Context, withContext } from "../context.ts";
import { EXIT, UserError } from "../errors.ts";
import { CRITERIA } from "../verify/criteria.ts";
import { clean, measure, type Row } from "../verify/measure.ts";
import { inTurn } from "../verify/progress.ts";
import { renderReport, reportForScripts } from "../verify/report.ts";
import { Run } from "../verify/run.ts";

interface VerifyOptions {
  only?: string[];
  skip?: string[];
  yes?: boolean;
}

const IDS = CRITERIA.map(({ id }) => id);

/** What needs a person's yes. */
const RESTARTS = ["registry-restart", "localstack-restart"];

export function addVerify(program: Command): void {
  program
    .command("verify")
    .addOption(new Option("--only <criterion...>", "measure these").choices(IDS))
    .addOption(new Option("--skip <criterion...>", "measure all but these").choices(IDS))
    .option("-y, --yes", "restart the pods of the registry and LocalStack without asking")
    .summary("prove that it all works")
    .description(
      "Measures each thing that a deployment has to do, as a client of it would, and prints what was measured beside its " +
        "limit. Ends with 1 where one fails, and names it. Stores 500 MB for the time it takes, and leaves nothing behind. " +
        "The pods are restarted only after a yes.",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  homecloud verify\n  homecloud verify --yes --json > verify.json\n  homecloud verify --only push pull\n" +
        "  homecloud verify --skip registry-restart localstack-restart",
    )
    .action(withContext<[], VerifyOptions>(verify));
}

async function verify(context: Context, options: VerifyOptions): Promise<void> {
  const chosen = CRITERIA.filter(({ id }) => (options.only?.includes(id) ?? true) && !options.skip?.includes(id));
  if (chosen.length === 0) throw new UserError("--only and --skip leave nothing to measure", EXIT.usage);
  const deployment = await context.deployment();
  const restarts = chosen.some(({ id }) => RESTARTS.includes(id))
    ? await mayRestart(context, options)
    : "not asked for";
  const run = new Run(context, deployment, restarts);
  const interrupt = onInterrupt(context);
  try {
    const rows = await inTurn(
      chosen,
      (criterion, tell) => {
        run.onProgress = tell;
        return measure(run, criterion, interrupt.signal);
      },
      { quiet: context.json },
    );
    report(context, [...rows, await clean(run)], interrupt.signal);
  } finally {
    interrupt.forget();
    await run.end();
  }
}

/** Asked before anything begins, so that nobody has to stay until then. */
async function mayRestart({ json }: Context, { yes }: VerifyOptions): Promise<true | string> {
  if (yes) return true;
  if (json || !process.stdin.isTTY) return "needs --yes";
  const message = "Restart the pods of the registry and LocalStack? They are away for some seconds";
  const { confirm } = await import("@inquirer/prompts");
  return (await confirm({ message, default: false })) || "you said no";
}

/** The first Ctrl-C ends what is measured, and what was made is removed; a second one leaves at once. */
function onInterrupt(context: Context): { signal: AbortSignal; forget(): void } {
  const ending = new AbortController();
  const interrupted = () => {
    if (ending.signal.aborted) {
      console.error("homecloud: something may be left: the next verify removes it, an hour from now or later");
      process.exit(EXIT.failed);
    }
    context.note("removing what was made (Ctrl-C again leaves it)");
    ending.abort();
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, interrupted);
  return {
    signal: ending.signal,
    forget: () => {
      for (const signal of signals) process.off(signal, interrupted);
    },
  };
}

function report(context: Context, rows: Row[], { aborted }: AbortSignal): void {
  const failed = rows.filter(({ passed }) => passed === false).map(({ id }) => id);
  context.print(reportForScripts(rows), renderReport(rows));
  if (aborted) throw new UserError("ended before all was measured");
  if (failed.length > 0) throw new UserError(`failed: ${failed.join(", ")}; what each means: docs/verify.md`);
}
