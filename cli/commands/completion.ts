import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Argument, type Command } from "commander";
import { printAnswer } from "../answer.ts";
import { complete, type Names, rendered } from "../completion/complete.ts";
import { completionScript, SHELLS, type Shell } from "../completion/scripts.ts";
import { Context, type GlobalOptions } from "../context.ts";
import { RegistryClient } from "../registry/client.ts";

/** Whoever presses a key waits no longer, in milliseconds. */
const PATIENCE = 3000;

export function addCompletion(program: Command): void {
  program
    .command("completion")
    .addArgument(new Argument("<shell>", "whose script is printed").choices(SHELLS))
    .summary("print what a shell needs to complete commands")
    .description(
      "Prints a script for bash, zsh or fish that completes commands, options, and names of repositories and tags, which are asked of the registry.",
    )
    .addHelpText(
      "after",
      '\nExamples:\n  eval "$(homecloud completion bash)"\n  source <(homecloud completion zsh)\n  homecloud completion fish > ~/.config/fish/completions/homecloud.fish',
    )
    .action((shell: Shell) => {
      printAnswer(completionScript(shell, join(import.meta.dirname, "..", "bin", "homecloud")));
    });
  program
    .command("complete", { hidden: true })
    .argument("[words...]")
    .action(async (words: string[]) => {
      const answer = complete(program, words, namesOf(optionsIn(words))).then(rendered, () => "");
      const late = sleep(PATIENCE).then(() => "");
      const text = await Promise.race([answer, late]);
      if (text) printAnswer(text);
      // Connections that nobody waits for any more.
      process.exit(0);
    });
}

/** --context and --namespace, where they were typed already. */
function optionsIn(words: string[]): GlobalOptions {
  const after = (...flags: string[]) => {
    const at = words.findIndex((word) => flags.includes(word));
    return at >= 0 ? words[at + 1] : words.find((word) => word.startsWith(`${flags[0]}=`))?.split("=")[1];
  };
  const [context, namespace] = [after("--context"), after("--namespace", "-n")];
  return { ...(context ? { context } : {}), ...(namespace ? { namespace } : {}) };
}

function namesOf(options: GlobalOptions): Names {
  const ask = async (work: (registry: RegistryClient) => Promise<string[]>) => {
    const registry = new RegistryClient(await new Context(options).registryAccess());
    return await work(registry).catch(() => []);
  };
  return {
    repositories: () => ask((registry) => registry.repositories()),
    tags: (repository) => ask((registry) => registry.tags(repository)),
    contexts: async () => new Context({}).kube.contexts(),
  };
}
