import type { Argument, Command, Option } from "commander";

/** Something that a word may become. */
export interface Candidate {
  value: string;
  description: string;
}

/** What a shell is told about the word under the cursor. */
export interface Completion {
  candidates: Candidate[];
  /** Whether names of files fit as well. */
  files: boolean;
  /** Whether more belongs to the word: a tag to its repository. */
  open: boolean;
}

/** Where names come from that only the registry and the kubeconfig know. Each answers quickly, or with nothing. */
export interface Names {
  repositories(): Promise<string[]>;
  tags(repository: string): Promise<string[]>;
  contexts(): Promise<string[]>;
}

const NOTHING: Completion = { candidates: [], files: false, open: false };

/** What the last of these words may become: the ones before it are what has been typed after `homecloud`. */
export async function complete(program: Command, words: string[], names: Names): Promise<Completion> {
  const current = words.at(-1) ?? "";
  const { command, given, option } = walk(program, words.slice(0, -1));
  if (option) return fitting(await ofOption(option, names), current);
  const [, flag, value] = /^(--[^=]+)=(.*)$/.exec(current) ?? [];
  if (flag !== undefined && value !== undefined) {
    const named = optionsOf(command).find(({ long }) => long === flag);
    if (!named) return NOTHING;
    const found = fitting(await ofOption(named, names), value);
    return { ...found, candidates: found.candidates.map((each) => ({ ...each, value: `${flag}=${each.value}` })) };
  }
  if (current.startsWith("-")) return fitting({ ...NOTHING, candidates: flags(command) }, current);
  if (command.commands.length > 0) return fitting({ ...NOTHING, candidates: commandsOf(command) }, current);
  const known = command.registeredArguments;
  const last = known.at(-1);
  const argument = known[given.length] ?? (last?.variadic ? last : undefined);
  return argument ? fitting(await ofArgument(argument, current, names), current) : NOTHING;
}

interface Walk {
  command: Command;
  /** Its arguments so far. */
  given: string[];
  /** The option whose value comes next. */
  option: Option | undefined;
}

function walk(program: Command, words: string[]): Walk {
  let command = program;
  let given: string[] = [];
  let option: Option | undefined;
  for (const word of words) {
    if (option) option = undefined;
    else if (word.startsWith("-") && word.length > 1) {
      const named = optionsOf(command).find(({ short, long }) => word === short || word === long);
      option = named?.required ? named : undefined;
    } else {
      const next = command.commands.find((each) => each.name() === word || each.aliases().includes(word));
      if (next) {
        command = next;
        given = [];
      } else given.push(word);
    }
  }
  return { command, given, option };
}

/** Those of the command, and those that every command has. */
function optionsOf(command: Command): Option[] {
  const all = command.createHelp().visibleOptions(command);
  return command.parent ? [...all, ...optionsOf(command.parent)] : all;
}

function flags(command: Command): Candidate[] {
  const all = optionsOf(command).map(({ long, short, description }) => ({ value: long ?? short ?? "", description }));
  return [...new Map(all.map((each) => [each.value, each])).values()];
}

const commandsOf = (command: Command): Candidate[] =>
  command
    .createHelp()
    .visibleCommands(command)
    .map((each) => ({ value: each.name(), description: each.summary() || each.description() }));

const plain = (values: readonly string[]): Candidate[] => values.map((value) => ({ value, description: "" }));

/** By what stands in the help: `<file>`, `<repo:tag>`. */
async function ofOption(option: Option, names: Names): Promise<Completion> {
  if (option.argChoices) return { ...NOTHING, candidates: plain(option.argChoices) };
  if (option.long === "--context") return { ...NOTHING, candidates: plain(await names.contexts()) };
  return { ...NOTHING, files: isFile(option.flags) };
}

async function ofArgument(argument: Argument, current: string, names: Names): Promise<Completion> {
  if (argument.argChoices) return { ...NOTHING, candidates: plain(argument.argChoices) };
  const told = `${argument.name()} ${argument.description}`;
  if (/repo/i.test(told)) return await ofRegistry(current, names, /repo:tag/i.test(told));
  return { ...NOTHING, files: isFile(told) };
}

const isFile = (told: string) => /\b(file|dir|archive|folder)\b/i.test(told);

async function ofRegistry(current: string, names: Names, withTag: boolean): Promise<Completion> {
  const colon = current.indexOf(":");
  if (colon > 0) return { ...NOTHING, candidates: await tagged(current.slice(0, colon), names) };
  const repositories = (await names.repositories()).filter((name) => name.startsWith(current));
  const [only] = repositories;
  if (withTag && only !== undefined && repositories.length === 1) {
    return { ...NOTHING, candidates: await tagged(only, names) };
  }
  return { ...NOTHING, candidates: plain(repositories), open: withTag };
}

const tagged = async (repository: string, names: Names): Promise<Candidate[]> =>
  plain((await names.tags(repository)).map((tag) => `${repository}:${tag}`));

const fitting = (completion: Completion, begin: string): Completion => ({
  ...completion,
  candidates: completion.candidates.filter(({ value }) => value.startsWith(begin)),
});

/** Lines for the scripts in scripts.ts: values with their descriptions, then what else there is to know. */
export function rendered({ candidates, files, open }: Completion): string {
  const lines = candidates.map(({ value, description }) => `${value}\t${description.replace(/\s+/g, " ")}`);
  return [...lines, ...(open ? [":open"] : []), ...(files ? [":files"] : [])].join("\n");
}
