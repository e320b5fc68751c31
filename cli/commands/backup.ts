import { isatty } from "node:tty";
import type { Command } from "commander";
import { printAnswer } from "../answer.ts";
import { interruptible } from "../backup/interruption.ts";
import { LocalStackPause, readLocalStack } from "../backup/localstack-pause.ts";
import { agree, LEFT, type PartOptions, partName } from "../backup/options.ts";
import { registryPlace } from "../backup/registry.ts";
import { localstackRoom } from "../backup/room.ts";
import { type Saved, type Sources, save, toFolder, toStdout } from "../backup/save.ts";
import { type Context, withContext } from "../context.ts";
import { EXIT, UserError } from "../errors.ts";
import { makeBars } from "../transfer/bars.ts";
import { bytes as size } from "../units.ts";

export function addBackup(program: Command): void {
  program
    .command("backup")
    .argument("<folder>", "folder for the file homecloud-STACK-TIME.tar; - for stdout")
    .option("--only <part>", "registry or localstack (default: both)", partName)
    .option("-y, --yes", "do not ask before LocalStack is stopped for it")
    .summary("save the registry's and LocalStack's data")
    .description(
      "Saves the registry's images and LocalStack's data as one tar, with checksums. Pulls go on; pushes get 503 for some " +
        "seconds, while the registry's tags are noted. LocalStack is stopped while its data is read.",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  homecloud backup /mnt/nas\n  homecloud backup --only registry - | ssh nas 'cat > registry.tar'\n" +
        "  homecloud backup --yes - | homecloud --context new restore --yes -\n" +
        "  tar -xf homecloud-….tar && sha256sum --quiet -c SHA256SUMS",
    )
    .action(
      withContext<[string], PartOptions>(async (context, target, options) => {
        if (target === "-" && isatty(1)) {
          throw new UserError(
            "a backup is not for a terminal: name a folder, or send it somewhere with | or >",
            EXIT.usage,
          );
        }
        const to = target === "-" ? toStdout() : await toFolder(target);
        const saved = await interruptible(LEFT, async (stop) => {
          const sources = await sourcesOf(context, options, stop.signal);
          const bars = makeBars(context.json);
          try {
            return await save(sources, to, bars, stop);
          } finally {
            bars.stop();
          }
        });
        tell(context, saved);
        const broken = saved.registry?.broken ?? [];
        if (broken.length > 0) throw new UserError(aboutBroken(broken));
      }),
    );
}

async function sourcesOf(context: Context, options: PartOptions, signal: AbortSignal): Promise<Sources> {
  const { kube } = context;
  const { registry, localstack } = await context.deployment();
  if (options.only === "localstack" && !localstack) {
    throw new UserError("this deployment has no LocalStack (localstack.enabled: false)", EXIT.missing);
  }
  const stack = registry.stack ?? registry.namespace;
  const images = options.only === "localstack" ? undefined : await registryPlace(kube, registry.namespace);
  if (!localstack || options.only === "registry") return { stack, registry: images, localstack: undefined };
  return {
    stack,
    registry: images,
    localstack: await localstackSource(context, localstack.namespace, options, signal),
  };
}

async function localstackSource(
  context: Context,
  namespace: string,
  options: PartOptions,
  signal: AbortSignal,
): Promise<Sources["localstack"]> {
  const { kube } = context;
  const facts = await readLocalStack(kube, namespace);
  if (facts.edition === "ephemeral") {
    const why = "LocalStack's edition is ephemeral: it keeps nothing, and would lose what it has";
    if (options.only === "localstack") throw new UserError(why);
    context.note(`${why}. It is left out`);
    return undefined;
  }
  await LocalStackPause.mend(facts, context.note, signal);
  await agree(
    `LocalStack in ${namespace} is stopped while its data is saved, and started again after that.`,
    options,
    process.stdin.isTTY,
  );
  const room = await localstackRoom(kube, namespace);
  return { ...facts, bytes: room?.used ?? 0 };
}

function tell(context: Context, saved: Saved): void {
  // Where stdout is the backup, what is said about it goes beside it.
  const say = saved.file ? printAnswer : console.error;
  say(context.json ? JSON.stringify(saved, null, 2) : summary(saved));
}

/** What was saved, in a line each. */
export function summary({ file, bytes, seconds, registry, localstack }: Saved): string {
  const pace = `${size(bytes)} in ${seconds.toFixed(1)} s, ${(bytes / 1e6 / seconds).toFixed(0)} MB/s`;
  return [
    `${file ? `${file}: ` : ""}${pace}`,
    ...(registry
      ? [`registry    ${registry.blobs} blobs, ${size(registry.bytes)}; pushes waited ${registry.writesHeldSeconds} s`]
      : []),
    ...(localstack ? [`localstack  ${size(localstack.bytes)}; away for ${localstack.awaySeconds} s`] : []),
  ].join("\n");
}

function aboutBroken(broken: string[]): string {
  const named = broken.slice(0, 10).join(", ");
  const more = broken.length > 10 ? ` and ${broken.length - 10} more` : "";
  return `the rest is saved, but these blobs of the registry are broken, on its disk already: ${named}${more}. Push the images that they belong to once more, under another tag, or delete those`;
}
