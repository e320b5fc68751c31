import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sha256 } from "../../../lab/files.ts";
import { packFolder } from "../../../lab/images/docker-archive.ts";
import { codenameIn, imageRelease, sourcesFor } from "../../../lab/localstack/packages.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "localstack-image-"));
});
afterEach(() => rm(folder, { recursive: true }));

test("a release without Python 3.12 is replaced by the next one, others stay", () => {
  expect(["bookworm", "jammy", "trixie", "noble"].map(imageRelease)).toEqual(["trixie", "noble", "trixie", "noble"]);
});

test("the release's name is read with and without quotes", () => {
  expect(codenameIn('ID=debian\nVERSION_CODENAME=bookworm\nVERSION="12"\n')).toBe("bookworm");
  expect(codenameIn('VERSION_CODENAME="noble"\n')).toBe("noble");
});

test("the machine's own mirrors are asked for the other release, third parties' are not", () => {
  const targets = `http://mirror.test/debian/ bookworm main /usr/share/keyrings/debian.gpg
http://mirror.test/debian/ bookworm-updates main /usr/share/keyrings/debian.gpg
http://mirror.test/debian/ bookworm main /usr/share/keyrings/debian.gpg
http://mirror.test/security/ bookworm-security main 
http://elsewhere.test/ cloud-sdk-bookworm main /usr/share/keyrings/elsewhere.gpg
http://elsewhere.test/ nodistro main -----BEGIN PGP PUBLIC KEY BLOCK-----
`;
  expect(sourcesFor(targets, "bookworm", "trixie")).toBe(
    `deb [signed-by=/usr/share/keyrings/debian.gpg] http://mirror.test/debian/ trixie main
deb [signed-by=/usr/share/keyrings/debian.gpg] http://mirror.test/debian/ trixie-updates main
deb http://mirror.test/security/ trixie-security main
`,
  );
});

test("a folder becomes an image whose layer is what its configuration says", async () => {
  const archive = await pack("first");
  const read = async (name: string) =>
    (await execa("tar", ["--extract", "--to-stdout", "--file", archive, name], { encoding: "buffer" })).stdout;
  const [{ Config, RepoTags, Layers }] = JSON.parse(Buffer.from(await read("manifest.json")).toString());
  const layer = await read(Layers[0]);
  const { config, rootfs } = JSON.parse(Buffer.from(await read(Config)).toString());
  expect(RepoTags).toEqual(["docker.io/library/hello:1"]);
  expect(config).toEqual({ Cmd: ["sh"] });
  expect(rootfs.diff_ids).toEqual([`sha256:${sha256(layer)}`]);
  const { stdout } = await execa("tar", ["--list", "--file", "-"], { input: layer });
  expect(stdout.split("\n")).toEqual(["./", "./a-link", ...longPaths()]);
});

test("the same folder gives the same image, whenever it was made", async () => {
  const [first, second] = [await pack("first"), await pack("second")];
  await execa("cmp", [first, second]);
});

const longPaths = (): string[] => {
  const folders = Array.from({ length: 30 }, (_, index) => `./${"long/".repeat(index + 1)}`);
  return [...folders, `./${"long/".repeat(30)}file`];
};

/** An image of a folder with a link and a path that the other writer refuses. */
async function pack(name: string): Promise<string> {
  const root = join(folder, name);
  await mkdir(join(root, "long/".repeat(30)), { recursive: true });
  await writeFile(join(root, "long/".repeat(30), "file"), "hello\n");
  await symlink("elsewhere", join(root, "a-link"));
  const archive = join(folder, `${name}.tar`);
  await packFolder({ ref: "docker.io/library/hello:1", config: { Cmd: ["sh"] }, root }, "amd64", archive);
  return archive;
}
