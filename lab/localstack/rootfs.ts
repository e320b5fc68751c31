import { cp, mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { exists, sha256 } from "../files.ts";
import { builtPath } from "../go-builds.ts";
import { inCache, labDir } from "../paths.ts";
import type { Report } from "../tools.ts";
import { runIn } from "./chroot.ts";
import { prepareApt, unpackInto } from "./packages.ts";

const IMAGE_PACKAGES = [
  ...["bash", "dash", "coreutils", "findutils", "grep", "sed", "gzip", "tar", "unzip", "procps", "hostname"],
  ...["ca-certificates", "curl", "libstdc++6", "openssl", "python3"],
];
const BUILD_PACKAGES = ["maven", "openjdk-21-jdk-headless", "python3-venv"];

/** The version under which LocalStack looks for it. */
const LAMBDA_RUNTIME_INIT = "v0.1.41-pre";

/** What the making adds to the image's root folder. */
const MADE = ["opt/code/localstack", "usr/lib/localstack"];

const sources = join(labDir, "localstack");

/** Everything that decides what the root folder holds, but for the Debian packages' versions. */
export async function describeRootfs(): Promise<string> {
  const files = (await readdir(sources)).sort();
  const paths = [...files.map((file) => join(sources, file)), builtPath("lambda-init")];
  const contents = await Promise.all(paths.map((path) => readFile(path)));
  return sha256(Buffer.concat(contents));
}

/** Makes LocalStack's root folder, which takes minutes and a gigabyte. Calls `use` with it, then deletes it. */
export async function withRootfs(report: Report, use: (root: string) => Promise<void>): Promise<void> {
  const folder = inCache("localstack");
  await rm(folder, { recursive: true, force: true });
  const [root, buildRoot] = [join(folder, "root"), join(folder, "build")];
  try {
    await unpackPackages(join(folder, "apt"), root, buildRoot, report);
    await build(buildRoot, report);
    for (const made of MADE) await move(join(buildRoot, made), join(root, made));
    await addLambdaInit(root);
    await finish(root, report);
    await use(root);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function unpackPackages(folder: string, root: string, buildRoot: string, report: Report): Promise<void> {
  report("LocalStack: downloading Debian packages");
  await prepareApt(folder);
  await unpackInto(root, folder, IMAGE_PACKAGES);
  // Links instead of copies: dpkg-deb replaces files and never writes into them.
  await execa("cp", ["--archive", "--link", root, buildRoot]);
  await unpackInto(buildRoot, folder, [...IMAGE_PACKAGES, ...BUILD_PACKAGES]);
}

async function build(root: string, report: Report): Promise<void> {
  report("LocalStack: downloading Python and Java packages");
  await takeAlong(root);
  await withSources(root, () => runIn(root, ["sh", "/build/build.sh"], { network: true, env: process.env }));
}

/** What LocalStack copies into a Lambda function's container to start it there. */
async function addLambdaInit(root: string): Promise<void> {
  const machine = process.arch === "x64" ? "x86_64" : process.arch;
  const folder = join(root, "usr/lib/localstack/lambda-runtime", LAMBDA_RUNTIME_INIT, machine, "var/rapid");
  await mkdir(folder, { recursive: true });
  await cp(builtPath("lambda-init"), join(folder, "init"));
}

async function finish(root: string, report: Report): Promise<void> {
  report("LocalStack: compiling Python");
  await withSources(root, () => runIn(root, ["bash", "/build/finish.sh"]));
}

/** Gives the scripts this folder as /build. */
async function withSources(root: string, run: () => Promise<void>): Promise<void> {
  const copy = join(root, "build");
  await cp(sources, copy, { recursive: true });
  await run();
  await rm(copy, { recursive: true });
}

/** The machine's way to the package registries: names, authorities, mirrors. */
async function takeAlong(root: string): Promise<void> {
  const home = homedir();
  const machine = ["/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf"];
  const copies: [from: string, to: string][] = [
    ...[...machine, "/etc/maven/settings.xml"].map((path): [string, string] => [path, path]),
    [join(home, ".config/pip/pip.conf"), "/root/.config/pip/pip.conf"],
    [join(home, ".m2/settings.xml"), "/root/.m2/settings.xml"],
  ];
  for (const [from, to] of copies) {
    if (!(await exists(from))) continue;
    const target = join(root, to);
    await rm(target, { force: true });
    await cp(from, target, { dereference: true });
  }
}

async function move(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await rename(from, to);
}
