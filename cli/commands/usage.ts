import type { Command } from "commander";
import pMap from "p-map";
import { withContext } from "../context.ts";
import { EXIT, UserError } from "../errors.ts";
import { progressBar } from "../progress.ts";
import { blobsOf } from "../registry/blobs.ts";
import type { RegistryClient } from "../registry/client.ts";
import { orProblem, tagsOf } from "../registry/listing.ts";
import { parseRepository } from "../registry/reference.ts";
import { type TagBlobs, type Usage, usageOf } from "../registry/usage.ts";
import { table } from "../table.ts";
import { bytes } from "../units.ts";

/** Repositories, and tags of each, that are asked for at a time. */
const AT_ONCE = 8;

export function addUsage(program: Command): void {
  program
    .command("usage")
    .argument("[repo]", "show one repository's tags")
    .summary("show who takes how much room")
    .description(
      "Shows what each repository, or each tag of one, takes: layers that are shared are counted once. FREES is what deleting it and a garbage collection (homecloud gc --untagged) would give back.",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  homecloud usage\n  homecloud usage team/app\n  homecloud usage --json | jq .total",
    )
    .action(
      withContext<[string | undefined]>(async (context, repo) => {
        const registry = await context.registry();
        const wanted = repo && parseRepository(repo, registry.access.host);
        const usage = usageOf(await readTags(registry, context.json));
        if (!wanted) return context.print(usage, repositoriesTable(usage));
        const one = usage.repositories.find(({ repository }) => repository === wanted);
        if (!one) {
          throw new UserError(
            `no image of ${wanted} is in ${registry.access.host}: homecloud ls lists what there is`,
            EXIT.missing,
          );
        }
        const rows = one.tags.map(({ tag, size, frees, problem }) =>
          problem ? [tag, "-", `cannot be read: ${problem}`] : [tag, bytes(size), bytes(frees)],
        );
        context.print(one, table(["TAG", "SIZE", "FREES"], rows));
      }),
    );
}

/** Every tag with its blobs. To know what is shared, all are read, whichever is asked about. */
async function readTags(registry: RegistryClient, quiet: boolean): Promise<TagBlobs[]> {
  const repositories = await registry.repositories();
  const bar = progressBar("repositories", repositories.length, quiet);
  const known = new Map();
  const read = async (repository: string): Promise<TagBlobs[]> => {
    const readTag = async (tag: string): Promise<TagBlobs> => {
      const blobs = await orProblem(blobsOf(registry, repository, tag, known));
      return { repository, tag, ...("problem" in blobs ? { ...blobs, blobs: new Map() } : { blobs }) };
    };
    const all = await pMap(await tagsOf(registry, repository), readTag, { concurrency: AT_ONCE });
    bar.increment();
    return all;
  };
  try {
    return (await pMap(repositories, read, { concurrency: AT_ONCE })).flat();
  } finally {
    bar.stop();
  }
}

function repositoriesTable({ repositories, total }: Usage): string {
  const rows = repositories
    .toSorted((a, b) => b.size - a.size)
    .map(({ repository, tags, size, frees }) => [repository, String(tags.length), bytes(size), bytes(frees)]);
  if (rows.length === 0) return "there is no image yet";
  const problems = repositories.flatMap(({ repository, tags }) =>
    tags.flatMap(({ tag, problem }) => (problem ? [`${repository}:${tag} cannot be read: ${problem}`] : [])),
  );
  return [
    table(["REPOSITORY", "TAGS", "SIZE", "FREES"], rows),
    "",
    `${bytes(total)} in all, shared layers counted once`,
    ...problems,
  ].join("\n");
}
