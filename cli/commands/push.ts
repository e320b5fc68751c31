import { join } from "node:path";
import { type Command, Option } from "commander";
import { type Context, withContext } from "../context.ts";
import { EXIT, UserError } from "../errors.ts";
import type { RegistryClient } from "../registry/client.ts";
import { parseReference, type Reference } from "../registry/reference.ts";
import { type Bars, makeBars, shortDigest } from "../transfer/bars.ts";
import { ENGINES, type EngineName, engineWith, save } from "../transfer/engine.ts";
import { KnownBlobs, type Packed } from "../transfer/known-blobs.ts";
import { isArchive, type OpenedImage, openArchive } from "../transfer/open.ts";
import { pushImage } from "../transfer/push.ts";
import { Retries } from "../transfer/retries.ts";
import { withScratch } from "../transfer/scratch.ts";
import { hasBlob } from "../transfer/upload.ts";
import { bytes } from "../units.ts";

interface PushOptions {
  image?: string;
  engine?: EngineName;
}

export function addPush(program: Command): void {
  program
    .command("push")
    .argument("<image>", "an image of the local Docker or Podman, or a file or folder that holds one")
    .argument(
      "[repo:tag]",
      "what it is called in the registry (default: its own name, without another registry's host)",
    )
    .addOption(new Option("--engine <name>", "whose image it is (default: the first that has it)").choices(ENGINES))
    .option("--image <name>", "which image, where the archive holds several")
    .summary("push an image")
    .description(
      "Pushes an image of the local Docker or Podman, or an archive: docker save, oci-archive (both gzip'd too), or the folder of an OCI layout. A list of images keeps all its platforms and digests. What the registry has already is not sent again; what breaks off goes on where it broke.",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  homecloud push team/app:1.0\n  homecloud push ghcr.io/other/app:2 team/app:2.0\n  homecloud push image.tar.gz team/app:1.0\n  homecloud push ./oci-layout team/app --image 1.0 --json",
    )
    .action(withContext<[string, string | undefined], PushOptions>(push));
}

async function push(context: Context, image: string, wanted: string | undefined, options: PushOptions): Promise<void> {
  const begun = performance.now();
  const engine = (await isArchive(image)) ? undefined : await engineWith(image, options.engine);
  const registry = await context.registry();
  const target = wanted === undefined ? undefined : parseReference(wanted, registry.access.host);
  if (target?.digest) throw new UserError(`${wanted}: a push makes a tag; name no digest`, EXIT.usage);
  const known = await KnownBlobs.load(registry.access.host);
  const bars = makeBars(context.json);
  try {
    const pushed = await withScratch(async (scratch) => {
      const archive = engine ? await saved(engine, image, scratch, bars) : image;
      const opened = await openArchive(archive, {
        name: image,
        image: options.image,
        scratch,
        tell: bars.tell,
        onLayer: (diffId, size) => compressing(bars, diffId, size),
        alreadyThere: (diffId) => packedThere(registry, known, diffId),
        onPacked: (diffId, packed) => known.packed(diffId, packed),
      });
      const { repository, tag } = destination(opened, target, image, registry.access.host);
      const done = await pushImage(registry, opened.tree, repository, tag, {
        retries: new Retries({ tell: bars.tell }),
        bars,
        knownIn: (digest) => known.repositoryOf(digest),
        onBlob: (digest) => known.seen(digest, repository),
      });
      return { reference: `${registry.access.host}/${repository}:${tag}`, ...done };
    });
    await known.save();
    bars.stop();
    const seconds = (performance.now() - begun) / 1000;
    const sent = `${bytes(pushed.sentBytes)} sent in ${seconds.toFixed(1)} s`;
    context.print({ ...pushed, seconds: Number(seconds.toFixed(3)) }, `${pushed.reference}\n${pushed.digest}\n${sent}`);
  } finally {
    bars.stop();
  }
}

/** What the person named, else what the image is called. */
function destination(
  opened: OpenedImage,
  target: Reference | undefined,
  image: string,
  host: string,
): { repository: string; tag: string } {
  if (target) return { repository: target.repository, tag: target.tag ?? opened.tag ?? "latest" };
  if (opened.repository === undefined) {
    throw new UserError(
      `${image} has no name of its own: say what it is called, as in homecloud push ${image} REPO:TAG`,
      EXIT.usage,
    );
  }
  const { repository, tag } = parseReference([opened.repository, opened.tag ?? "latest"].join(":"), host);
  return { repository, tag: tag ?? "latest" };
}

async function saved(engine: EngineName, image: string, scratch: string, bars: Bars): Promise<string> {
  const archive = join(scratch, "saved.tar");
  bars.tell(`reading ${image} from ${engine}`);
  await save(engine, image, archive);
  return archive;
}

function compressing(bars: Bars, diffId: string, size: number): (bytes: number) => void {
  const bar = bars.start(shortDigest(diffId), size);
  let read = 0;
  return (more) => {
    read += more;
    if (read < size) bar.at(read);
    else bar.end("compressed");
  };
}

/** What a plain layer was compressed to, where the registry has that still. */
async function packedThere(registry: RegistryClient, known: KnownBlobs, diffId: string): Promise<Packed | undefined> {
  const packed = known.packedOf(diffId);
  const repository = packed && known.repositoryOf(packed.digest);
  if (!packed || !repository) return undefined;
  return (await hasBlob(registry, repository, packed.digest)) ? packed : undefined;
}
