import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import type { Command } from "commander";
import { ArchiveReader } from "../backup/archive.ts";
import { type Contents, NoBackup, PARTS, type PartName } from "../backup/format.ts";
import { interruptible } from "../backup/interruption.ts";
import { type LocalStackFacts, LocalStackPause, readLocalStack } from "../backup/localstack-pause.ts";
import { agree, LEFT, type PartOptions, partName } from "../backup/options.ts";
import { putBack, type Restored, refuse, type Targets } from "../backup/put-back.ts";
import { registryPlace } from "../backup/registry.ts";
import { localstackRoom, registryRoom } from "../backup/room.ts";
import { type Context, withContext } from "../context.ts";
import type { Deployment } from "../deployment.ts";
import { EXIT, UserError } from "../errors.ts";
import { makeBars } from "../transfer/bars.ts";
import { bytes as size } from "../units.ts";

interface Source {
  /** In errors. */
  name: string;
  stream: Readable;
}

export function addRestore(program: Command): void {
  program
    .command("restore")
    .argument("<file>", "what homecloud backup has written; - for stdin")
    .option("--only <part>", "registry or localstack (default: what the backup holds)", partName)
    .option("-y, --yes", "do not ask before what is there is replaced")
    .summary("put a backup's data into the place of what is there")
    .description(
      "Replaces the registry's images and LocalStack's data by a backup's. What is there stays until the backup has been " +
        "read to its end and every checksum fits. Meanwhile pushes get 503, pulls go on, and LocalStack is stopped.",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  homecloud restore /mnt/nas/homecloud-homelab-20261121T210000Z.tar\n" +
        "  homecloud restore --only registry --yes homecloud-….tar\n  ssh nas cat homecloud-….tar | homecloud restore --yes -",
    )
    .action(
      withContext<[string], PartOptions>(async (context, file, options) => {
        const { contents, restored } = await interruptible(LEFT, (stop) => restore(context, file, options, stop));
        context.print({ from: contents, ...restored }, summary(contents, restored));
        const dropped = restored.registry?.dropped ?? [];
        if (dropped.length > 0) throw new UserError(aboutBroken(dropped));
      }),
    );
}

async function restore(context: Context, file: string, options: PartOptions, stop: AbortController) {
  const { name, stream } = await sourceOf(file);
  const bars = makeBars(context.json);
  let done = 0;
  let at = (_: number) => {};
  try {
    const reader = await ArchiveReader.open(stream, stop.signal, (count) => {
      done += count;
      at(done);
    });
    const { contents } = reader;
    const targets = await targetsOf(context, contents, options, file !== "-", stop.signal);
    const total = PARTS.reduce((sum, part) => sum + (contents[part]?.bytes ?? 0), 0);
    const bar = bars.start("restore", total);
    at = (position) => bar.at(Math.min(position, total));
    const restored = await putBack(reader, targets, bars, stop);
    bar.end("restored");
    return { contents, restored };
  } catch (error) {
    if (error instanceof NoBackup) throw new UserError(`${name} ${error.message}. Nothing was changed`);
    throw error;
  } finally {
    stream.destroy();
    bars.stop();
  }
}

async function sourceOf(file: string): Promise<Source> {
  if (file === "-") {
    if (process.stdin.isTTY) {
      throw new UserError(
        "a backup does not come from a terminal: name a file, or send it here with | or <",
        EXIT.usage,
      );
    }
    return { name: "what comes on stdin", stream: process.stdin };
  }
  if (!(await stat(file).catch(() => undefined))?.isFile())
    throw new UserError(`there is no file ${file}`, EXIT.missing);
  return { name: file, stream: createReadStream(file, { highWaterMark: 2 ** 20 }) };
}

async function targetsOf(
  context: Context,
  contents: Contents,
  options: PartOptions,
  mayAsk: boolean,
  signal: AbortSignal,
): Promise<Targets> {
  const deployment = await context.deployment();
  const wanted = PARTS.filter((part) => contents[part] && (!options.only || options.only === part));
  if (wanted.length === 0) throw new UserError(`the backup does not hold ${options.only}`, EXIT.missing);
  const losses: string[] = [];
  const targets: Targets = {
    registry: wanted.includes("registry") ? await registryTarget(context, deployment, contents, losses) : undefined,
    localstack: wanted.includes("localstack")
      ? await localstackTarget(context, deployment, contents, losses, signal)
      : undefined,
  };
  if (losses.length > 0) {
    const from = `by the backup of ${contents.time} (stack ${contents.stack})`;
    await agree(`${losses.join("; ")}: replaced ${from}.`, options, mayAsk && process.stdin.isTTY);
  }
  return targets;
}

async function registryTarget(
  { kube }: Context,
  { registry }: Deployment,
  contents: Contents,
  losses: string[],
): Promise<Targets["registry"]> {
  const place = await registryPlace(kube, registry.namespace);
  const room = await registryRoom(place);
  refuse("the registry", contents.registry?.bytes ?? 0, room);
  if (!room.empty) losses.push(`the registry in ${registry.namespace} holds ${size(room.used)} of images`);
  return place;
}

async function localstackTarget(
  context: Context,
  { localstack }: Deployment,
  contents: Contents,
  losses: string[],
  signal: AbortSignal,
): Promise<LocalStackFacts> {
  const { kube } = context;
  if (!localstack)
    throw new UserError(
      `the backup holds LocalStack, which is not deployed here: ${instead("registry")}`,
      EXIT.missing,
    );
  const { namespace } = localstack;
  const facts = await readLocalStack(kube, namespace);
  checkEdition(facts, contents);
  await LocalStackPause.mend(facts, context.note, signal);
  const room = await localstackRoom(kube, namespace);
  if (!room) {
    losses.push(`LocalStack in ${namespace} is stopped, whatever it holds`);
    return facts;
  }
  refuse("LocalStack", contents.localstack?.bytes ?? 0, room);
  losses.push(`LocalStack in ${namespace} is stopped meanwhile${room.empty ? "" : `, and holds ${size(room.used)}`}`);
  return facts;
}

/** None reads the state of another. */
function checkEdition({ edition, namespace }: LocalStackFacts, { localstack }: Contents): void {
  if (edition === localstack?.edition) return;
  throw new UserError(
    `the backup is of LocalStack's edition ${localstack?.edition}, and ${namespace} has ${edition}, which does not read that: ${instead("registry")}`,
  );
}

const instead = (part: PartName): string =>
  `set localstack in the stack's settings, or restore the rest with --only ${part}`;

/** What was restored, in a line each. */
export function summary({ time, stack }: Contents, { registry, localstack }: Restored): string {
  return [
    `restored as it was at ${time} (stack ${stack}); every checksum fits`,
    ...(registry ? [`registry    ${registry.files} files; pushes waited ${registry.writesHeldSeconds} s`] : []),
    ...(localstack ? [`localstack  ${localstack.files} files; away for ${localstack.awaySeconds} s`] : []),
  ].join("\n");
}

function aboutBroken(dropped: string[]): string {
  return `these blobs were broken when the backup was made, and were left out: ${dropped.slice(0, 10).join(", ")}. Push the images that they belong to again`;
}
