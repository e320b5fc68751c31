import type { Command } from "commander";
import { withContext } from "../context.ts";
import { EXIT, UserError } from "../errors.ts";
import { type RegistryClient, RegistryError } from "../registry/client.ts";
import { parseReference, type Reference } from "../registry/reference.ts";

export function addRm(program: Command): void {
  program
    .command("rm")
    .argument("<image...>", "REPO:TAG, any number of them")
    .option("-y, --yes", "do not ask")
    .summary("delete tags")
    .description(
      "Deletes tags. Other tags of the same image stay, and so does its room until the next garbage collection (homecloud gc --untagged).",
    )
    .addHelpText("after", "\nExamples:\n  homecloud rm team/app:1.1 team/app:1.2\n  homecloud rm --yes team/app:old")
    .action(
      withContext<[string[]], { yes?: boolean }>(async (context, images, options) => {
        const registry = await context.registry();
        const given = images.map((image) => tagOf(image, parseReference(image, registry.access.host)));
        const tags = [...new Map(given.map((tag) => [nameOf(tag), tag])).values()];
        // Looked at before the question: nothing goes where one of them is misspelt.
        for (const { repository, tag } of tags) await registry.manifest(repository, tag);
        const names = tags.map(nameOf);
        if (!options.yes && !(await agreed(names))) throw new UserError("nothing was deleted", EXIT.declined);
        const { deleted, failure } = await untagAll(registry, tags);
        if (deleted.length > 0 || context.json) {
          context.print({ deleted }, deleted.map((name) => `deleted ${name}`).join("\n"));
        }
        if (failure) throw failure;
        context.note("their room is given back by homecloud gc --untagged, once they are old enough for that");
      }),
    );
}

interface Tag {
  repository: string;
  tag: string;
}

const nameOf = ({ repository, tag }: Tag): string => `${repository}:${tag}`;

/** Deletes one after the other, up to the first that fails. What is gone until then is told all the same. */
async function untagAll(registry: RegistryClient, tags: Tag[]): Promise<{ deleted: string[]; failure?: unknown }> {
  const deleted: string[] = [];
  for (const tag of tags) {
    try {
      await registry.untag(tag.repository, tag.tag);
    } catch (error) {
      return { deleted, failure: refusal(tag, error) };
    }
    deleted.push(nameOf(tag));
  }
  return { deleted };
}

function refusal(tag: Tag, error: unknown): unknown {
  if (!(error instanceof RegistryError) || error.status !== 503) return error;
  return new UserError(
    `${nameOf(tag)}: writes are held by a collection, backup or restore: try again when it has ended (homecloud status)`,
  );
}

function tagOf(image: string, { repository, tag, digest }: Reference): Tag {
  if (!tag || digest) {
    throw new UserError(
      `${image}: tags are deleted here, as REPO:TAG; what has no tag goes with homecloud gc --untagged`,
      EXIT.usage,
    );
  }
  return { repository, tag };
}

async function agreed(names: string[]): Promise<boolean> {
  if (!process.stdin.isTTY) throw new UserError("there is no terminal to ask at: say --yes", EXIT.usage);
  const { confirm } = await import("@inquirer/prompts");
  return await confirm({ message: `Delete ${names.join(", ")}?`, default: false });
}
