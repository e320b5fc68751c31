import { createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { type Command, Option } from "commander";
import { type Context, withContext } from "../context.ts";
import { EXIT, UserError } from "../errors.ts";
import type { RegistryClient } from "../registry/client.ts";
import { parseReference, type Reference } from "../registry/reference.ts";
import { makeBars } from "../transfer/bars.ts";
import { ENGINES, type EngineName, engineThatRuns, load } from "../transfer/engine.ts";
import { imageFor, ownPlatform, parsePlatform } from "../transfer/platform.ts";
import { type ArchiveOptions, type RemoteImage, readManifest, readRemote, writeArchive } from "../transfer/pull.ts";
import { Retries } from "../transfer/retries.ts";
import { writeWhole } from "../transfer/scratch.ts";
import { bytes } from "../units.ts";

interface PullOptions {
  output?: string;
  platform?: string;
  allPlatforms?: boolean;
  engine?: EngineName;
}

export function addPull(program: Command): void {
  program
    .command("pull")
    .argument("<repo:tag>", "image of the registry, by tag or by digest")
    .option("-o, --output <archive>", "write an oci-archive, instead of loading it into Docker or Podman")
    .option("--platform <os/arch>", "of an image with several platforms (default: this machine's)")
    .option("--all-platforms", "all platforms of the image, into an archive")
    .addOption(new Option("--engine <name>", "who gets it (default: the first that answers)").choices(ENGINES))
    .summary("pull an image")
    .description(
      "Pulls an image into the local Docker or Podman, or into an archive. Every digest is checked while it comes; what breaks off goes on where it broke, and a pull that fails leaves nothing behind.",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  homecloud pull team/app:1.0\n  homecloud pull team/app:1.0 -o app.tar\n  homecloud pull team/app:1.0 --all-platforms -o app.tar\n  homecloud pull team/app:1.0 --platform linux/arm64 -o app-arm64.tar --json",
    )
    .action(withContext<[string], PullOptions>(pull));
}

async function pull(context: Context, image: string, options: PullOptions): Promise<void> {
  const begun = performance.now();
  const { output } = options;
  if (options.allPlatforms && !output) {
    throw new UserError(
      "--all-platforms needs -o ARCHIVE: Docker and Podman keep one platform of an image",
      EXIT.usage,
    );
  }
  if (output) await checkFolder(output);
  const engine = output ? undefined : await engineThatRuns(options.engine);
  const registry = await context.registry();
  const { host } = registry.access;
  const reference = parseReference(image, host);
  const bars = makeBars(context.json);
  try {
    const retries = new Retries({ tell: bars.tell });
    const remote = await chosen(registry, retries, reference, options);
    const tag = reference.digest ? undefined : (reference.tag ?? "latest");
    const name = tag && `${host}/${reference.repository}:${tag}`;
    const archive: ArchiveOptions = { retries, bars, name, tag };
    let received = 0;
    let said: string | undefined;
    const write = async (target: NodeJS.WritableStream) => {
      received = await writeArchive(registry, remote, target, archive);
    };
    if (output) await writeWhole(output, (part) => write(createWriteStream(part)));
    else if (engine) said = await load(engine, write);
    bars.stop();
    const { digest } = remote.manifest;
    const seconds = (performance.now() - begun) / 1000;
    const text = [said ?? output, digest, `${bytes(received)} in ${seconds.toFixed(1)} s`].join("\n");
    const where = output ? { file: resolve(output) } : { engine };
    context.print(
      { reference: name ?? image, digest, receivedBytes: received, ...where, seconds: Number(seconds.toFixed(3)) },
      text,
    );
  } finally {
    bars.stop();
  }
}

/** The whole list, or its one image for a platform. */
async function chosen(
  registry: RegistryClient,
  retries: Retries,
  { repository, tag, digest }: Reference,
  { allPlatforms, platform }: PullOptions,
): Promise<RemoteImage> {
  const reference = digest ?? tag ?? "latest";
  if (allPlatforms) return await readRemote(registry, retries, repository, reference);
  const manifest = await readManifest(registry, retries, repository, reference);
  const { manifests } = manifest;
  if (!manifests) return { repository, manifest, parts: [] };
  const wanted = platform ? parsePlatform(platform) : ownPlatform();
  const { digest: image } = imageFor(manifests, wanted, `${repository}:${reference}`);
  return await readRemote(registry, retries, repository, image);
}

/** Told before anything is downloaded. */
async function checkFolder(file: string): Promise<void> {
  const folder = await stat(dirname(resolve(file))).catch(() => undefined);
  if (!folder?.isDirectory()) throw new UserError(`there is no folder ${dirname(resolve(file))}`, EXIT.missing);
  const found = await stat(file).catch(() => undefined);
  if (found?.isDirectory()) throw new UserError(`${file} is a folder: -o names a file`, EXIT.usage);
}
