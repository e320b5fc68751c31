import { text } from "node:stream/consumers";
import { Argument, type Command } from "commander";
import { type Context, withContext } from "../context.ts";
import { EXIT, UserError } from "../errors.ts";
import {
  checkCa,
  checkNodes,
  checkPassword,
  checkPullSecrets,
  checkServed,
  type Finding,
  loginThrough,
  type TryLogin,
} from "../rotate/check.ts";
import { planOf, renderPlan, SUBJECTS, type Subject } from "../rotate/plan.ts";
import { type Facts, readFacts } from "../rotate/read.ts";
import { table } from "../table.ts";

interface RotateOptions {
  former?: boolean;
}

export function addRotate(program: Command): void {
  program
    .command("rotate")
    .addArgument(new Argument("<what>", "what is to be new, or check, afterwards").choices([...SUBJECTS, "check"]))
    .option("--former", "with check: ask for the former password, or read it from standard input; it must be refused")
    .summary("list what a new password, pull-only user or CA takes, and check it afterwards")
    .description(
      "Lists the commands for a new password, pull-only user (puller) or CA of this deployment, what they do to what runs, " +
        "and who has to be told. Changes nothing: pulumi up does. Afterwards `check` shows whether everything has " +
        "followed, and ends with 1 where something has not.",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  homecloud rotate password\n  homecloud rotate puller\n  homecloud rotate ca\n  homecloud rotate check\n  homecloud rotate check --former < former-password.txt",
    )
    .action(
      withContext<[Subject | "check"], RotateOptions>(async (context, what, { former = false }) => {
        if (former && what !== "check") throw new UserError("--former belongs to rotate check", EXIT.usage);
        const facts = await readFacts(context);
        if (what === "check") await check(context, facts, former ? await askFormer(facts) : undefined);
        else {
          const plan = planOf(what, facts);
          context.print(plan, renderPlan(plan));
        }
      }),
    );
}

/** Never an argument: other processes and the shell's history see those. */
async function askFormer({ user }: Facts): Promise<string> {
  if (process.stdin.isTTY) {
    const { password } = await import("@inquirer/prompts");
    return await password({ message: `Former password of ${user}:` });
  }
  const given = (await text(process.stdin)).replace(/\r?\n$/, "");
  if (!given)
    throw new UserError("--former reads the former password from standard input, and nothing came", EXIT.usage);
  return given;
}

async function check(context: Context, facts: Facts, former: string | undefined): Promise<void> {
  const now = new Date();
  const served = await checkServed(facts.url, facts, now);
  const isTrusted = served.every(({ ok }) => ok !== false);
  const tryLogin = isTrusted ? loginThrough(context) : notTried;
  const { user, password } = await context.registryAccess();
  const localstack = (await context.deployment()).localstack && (await context.localstackAccess()).endpoint;
  const findings = [
    ...(await checkPassword({ user, password, former }, tryLogin)),
    ...(await checkPullSecrets(facts, tryLogin)),
    ...checkNodes(facts),
    ...checkCa(facts, now),
    ...served,
    ...(localstack ? await checkServed(localstack, facts, now) : []),
  ];
  const lags = findings.filter(({ ok }) => ok === false);
  context.print({ ok: lags.length === 0, findings }, renderFindings(findings));
  if (lags.length > 0) process.exitCode = EXIT.failed;
}

/** No password goes to whoever shows another certificate. */
const notTried: TryLogin = async () => ({ problem: "not tried: the registry's certificate is not to be trusted" });

function renderFindings(findings: Finding[]): string {
  const rows = findings.map(({ what, ok, found }) => [ok === undefined ? "-" : ok ? "pass" : "FAIL", what, found]);
  const toDo = findings
    .filter(({ ok, toDo }) => ok !== true && toDo)
    .map(({ what, toDo }) => `to do: ${what}: ${toDo}`);
  const lags = findings.filter(({ ok }) => ok === false).length;
  const summary = lags === 0 ? "everything has followed" : `${lags} of ${findings.length} have not followed`;
  return [table(["", "WHAT", "FOUND"], rows), "", ...toDo, summary].join("\n");
}
