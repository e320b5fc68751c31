import type { Command } from "commander";
import pMap from "p-map";
import { withContext } from "../context.ts";
import type { RegistryClient } from "../registry/client.ts";
import { orProblem, tagsOf, type Unreadable } from "../registry/listing.ts";
import { parseRepository } from "../registry/reference.ts";
import { type ImageSize, sizeOf } from "../registry/sizes.ts";
import { table } from "../table.ts";
import { bytes } from "../units.ts";

/** Manifests that are asked for at a time. */
const AT_ONCE = 16;

export function addLs(program: Command): void {
  program
    .command("ls")
    .argument("[repo]", "repository whose tags are listed")
    .summary("list repositories, or the tags of one")
    .description("Lists the repositories, or the tags of one with their digests, sizes and platforms.")
    .addHelpText("after", "\nExamples:\n  homecloud ls\n  homecloud ls team/app\n  homecloud ls --json | jq -r '.[]'")
    .action(
      withContext<[string | undefined]>(async (context, repo) => {
        const registry = await context.registry();
        if (repo === undefined) {
          const repositories = await registry.repositories();
          return context.print(repositories, repositories.join("\n") || "there is no image yet");
        }
        const repository = parseRepository(repo, registry.access.host);
        const tags = await readTags(registry, repository);
        const text = table(["TAG", "DIGEST", "SIZE", "PLATFORMS"], tags.map(row));
        context.print(tags, tags.length > 0 ? text : `${repository} has no tag`);
      }),
    );
}

type Tag = { tag: string } & (ImageSize | Unreadable);

async function readTags(registry: RegistryClient, repository: string): Promise<Tag[]> {
  const read = async (tag: string) => ({ tag, ...(await orProblem(sizeOf(registry, repository, tag))) });
  return await pMap(await tagsOf(registry, repository), read, { concurrency: AT_ONCE });
}

function row(tag: Tag): string[] {
  if ("problem" in tag) return [tag.tag, "-", "-", `cannot be read: ${tag.problem}`];
  return [tag.tag, tag.digest.slice(0, 19), bytes(tag.size), tag.platforms.join(", ")];
}
