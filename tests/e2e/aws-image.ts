import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { architecture, dockerArchive } from "../../lab/images/docker-archive.ts";
import { folder, withLibraries, withParents } from "../../lab/images/shared-libraries.ts";
import type { TarEntry } from "../../lab/images/tar.ts";
import { importImage } from "../../lab/lab.ts";

export const AWS_IMAGE = "homecloud.test/aws-app:1.0";

const root = join(import.meta.dirname, "../..");
const PACKAGES = ["@aws-sdk/client-s3", "@aws-sdk/client-sqs"];

/**
 * Gives the cluster the image of examples/aws-consumer as its Dockerfile would make it: this Node, the SDK's packages, and
 * the program as it is; beside it the programs of `aws/`.
 */
export async function importAwsImage(): Promise<void> {
  const app = join(root, "examples", "aws-consumer", "app");
  const files = [
    ...(await withLibraries(process.execPath, "usr/local/bin/node")),
    ...(await filesOf(app, "app", ["main.js", "package.json"])),
    ...(await filesOf(join(import.meta.dirname, "aws"), "app/aws")),
    ...(await packages()),
  ];
  const config = { Entrypoint: ["/usr/local/bin/node"], Cmd: ["main.js"], WorkingDir: "/app", User: "1000:1000" };
  const temporary = await mkdtemp(join(tmpdir(), "homecloud-aws-image-"));
  const archive = join(temporary, "image.tar");
  await writeFile(archive, dockerArchive({ ref: AWS_IMAGE, config, files: withFolders(files) }, architecture));
  await importImage(archive);
  await rm(temporary, { recursive: true });
}

/** The SDK's packages and what they need, without types and what bundlers take. */
async function packages(): Promise<TarEntry[]> {
  const entries: TarEntry[] = [];
  const wanted = new Set(PACKAGES);
  for (const name of wanted) {
    const path = join(root, "node_modules", name);
    const { dependencies = {} } = JSON.parse(await readFile(join(path, "package.json"), "utf8"));
    for (const dependency of Object.keys(dependencies)) wanted.add(dependency);
    const unused = /(^|\/)(dist-types|dist-es)\/|\.d\.ts$|\.md$|\.map$/;
    const names = (await filesBelow(path)).filter((file) => !unused.test(file));
    entries.push(...(await filesOf(path, `app/node_modules/${name}`, names)));
  }
  return entries;
}

async function filesOf(path: string, target: string, names?: string[]): Promise<TarEntry[]> {
  const files = names ?? (await filesBelow(path));
  return Promise.all(
    files.map(async (name) => ({ path: `${target}/${name}`, content: await readFile(join(path, name)) })),
  );
}

async function filesBelow(path: string): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1));
}

/** Each entry once, after the folders around it. */
function withFolders(files: TarEntry[]): TarEntry[] {
  const folders = new Set(files.flatMap(({ path }) => withParents(dirname(path))));
  const others = files.filter((file) => !("folder" in file));
  return [...[...folders].sort().map(folder), ...new Map(others.map((file) => [file.path, file])).values()];
}
