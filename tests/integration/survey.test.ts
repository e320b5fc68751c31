import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { execa } from "execa";
import fc from "fast-check";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { unpackedProgram } from "../../lab/tools.ts";
import { testTools } from "../tools.ts";
import { sha256 } from "./client.ts";

const SURVEY = new URL("../../components/registry/survey.awk", import.meta.url).pathname;
const NOW = 1_000_000;
const CUTOFF = NOW - 3600;
const [OLD, YOUNG] = [CUTOFF - 1, CUTOFF];

/** A manifest of one repository. Others are named by their place in the list, which must be an earlier one. */
interface Manifest {
  images: number[];
  subject: number | undefined;
  /** Layers, of which repositories share some. */
  layers: number[];
  old: boolean;
  tagged: boolean;
}

let busybox: string;
let root: string;

beforeAll(async () => {
  await testTools();
  busybox = await unpackedProgram("busybox");
});
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "homecloud-survey-"));
});
afterEach(() => rm(root, { recursive: true }));

const layerDigest = (layer: number) => sha256(`layer ${layer}`);

/** The repository's manifests as they are stored, in the order given. */
function contents(repository: string, manifests: Manifest[]): string[] {
  const all: string[] = [];
  for (const { images, subject, layers } of manifests) {
    const named = (place: number) => sha256(all[place % all.length] ?? "");
    all.push(
      JSON.stringify(
        {
          annotations: { repository, number: `${all.length}`, 'with "quotes"': "<a \\ b>" },
          ...(subject !== undefined && all.length > 0 ? { subject: { size: 1, digest: named(subject) } } : {}),
          layers: layers.map((layer) => ({ size: 1, digest: layerDigest(layer) })),
          manifests: all.length > 0 ? images.map((image) => ({ digest: named(image) })) : [],
        },
        null,
        all.length % 3,
      ),
    );
  }
  return all;
}

/** Digests of what has to stay in a repository, by the rules as a program with a JSON parser has them. */
function whatStays(texts: string[], manifests: Manifest[]): Set<string> {
  const digests = texts.map((text) => sha256(text));
  const named = texts.map((text) => {
    const { subject, manifests: images } = JSON.parse(text) as {
      subject?: { digest: string };
      manifests: { digest: string }[];
    };
    return { subject: subject?.digest, images: images.map(({ digest }) => digest) };
  });
  const stay = new Set(digests.filter((_, place) => manifests[place]?.tagged || !manifests[place]?.old));
  for (let before = -1; before !== stay.size; ) {
    before = stay.size;
    for (const [place, { subject, images }] of named.entries()) {
      const digest = digests[place] ?? "";
      // With a subject everything it names counts: nothing here tells an image from a subject.
      if (subject && [subject, ...images].some((each) => stay.has(each))) stay.add(digest);
      if (stay.has(digest)) for (const each of [...images, ...(subject ? [subject] : [])]) stay.add(each);
    }
  }
  return stay;
}

interface Surveyed {
  removed: string[];
  figures: number[];
  exitCode: number | undefined;
}

async function store(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

const dataOf = (digest: string) => {
  const hex = digest.slice(7);
  return `${root}/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`;
};

async function survey(lines: string[], cutoff = CUTOFF): Promise<Surveyed> {
  await writeFile(`${root}/removed`, "");
  const variables = [`blobs=${root}/blobs`, `cutoff=${cutoff}`, `remover=cat >${root}/removed`];
  const args = ["awk", ...variables.flatMap((variable) => ["-v", variable]), "-f", SURVEY];
  const { stdout, exitCode } = await execa(busybox, args, { input: `${lines.join("\n")}\n`, reject: false });
  const removed = (await readFile(`${root}/removed`, "utf8")).split("\n").filter(Boolean);
  return { removed, exitCode, figures: stdout.split(" ").filter(Boolean).map(Number) };
}

/** The lines that collect-garbage.sh would make of these repositories. */
async function linesOf(repositories: Map<string, Manifest[]>): Promise<string[]> {
  const [revisions, tags, blobs]: [string[], string[], Set<string>] = [[], [], new Set()];
  for (const [repository, manifests] of repositories) {
    const folder = `${root}/repositories/${repository}/_manifests`;
    for (const [place, text] of contents(repository, manifests).entries()) {
      const { old, tagged, layers } = manifests[place] as Manifest;
      await store(dataOf(sha256(text)), text);
      revisions.push(`revision ${old ? OLD : YOUNG} ${folder}/revisions/${sha256(text).replace(":", "/")}/link`);
      for (const digest of [sha256(text), ...layers.map(layerDigest)]) blobs.add(digest);
      if (!tagged) continue;
      await store(`${folder}/tags/t${place}/current/link`, sha256(text));
      tags.push(`tag 0 ${folder}/tags/t${place}/current/link`);
    }
  }
  return [...revisions, ...tags, "decide", ...[...blobs].map((digest) => `blob 8 ${dataOf(digest)}`)];
}

const manifest: fc.Arbitrary<Manifest> = fc.record({
  images: fc.array(fc.nat(20), { maxLength: 3 }),
  subject: fc.option(fc.nat(20), { nil: undefined, freq: 2 }),
  layers: fc.array(fc.nat(8), { maxLength: 3 }),
  old: fc.boolean(),
  tagged: fc.nat(3).map((n) => n === 0),
});

test("of a folder that cannot be a repository, such as a copy made by hand, nothing goes, nor of its neighbours", async () => {
  const old: Manifest = { images: [], subject: undefined, layers: [], old: true, tagged: false };
  const { removed, exitCode } = await survey(await linesOf(new Map([["team (copy)", [old]]])));
  expect({ removed, exitCode }).toEqual({ removed: [], exitCode: 0 });
  const beside = new Map([
    ["team", [old]],
    ["team (copy)", [old]],
  ]);
  expect((await survey(await linesOf(beside))).removed).toEqual([
    expect.stringMatching(/\/repositories\/team\/_manifests\/revisions\/sha256\/[0-9a-f]{64}$/),
  ]);
});

test("for any repositories it finds what a program with a JSON parser finds", async () => {
  const manifests = fc.array(manifest, { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(manifests, manifests, async (one, two) => {
      const repositories = new Map([
        ["one", one],
        ["team/two", two],
      ]);
      const { removed, figures, exitCode } = await survey(await linesOf(repositories));
      const [doomed, kept]: [string[], Set<string>] = [[], new Set()];
      const all = new Set<string>();
      for (const [repository, each] of repositories) {
        const texts = contents(repository, each);
        const stay = whatStays(texts, each);
        for (const [place, text] of texts.entries()) {
          const blobs = [sha256(text), ...(each[place]?.layers ?? []).map(layerDigest)];
          for (const digest of blobs) all.add(digest);
          if (stay.has(sha256(text))) for (const digest of blobs) kept.add(digest);
          else doomed.push(`${root}/repositories/${repository}/_manifests/revisions/${sha256(text).replace(":", "/")}`);
        }
      }
      expect(exitCode).toBe(0);
      expect(removed.sort()).toEqual(doomed.sort());
      const freed = all.size - kept.size;
      expect(figures).toEqual([doomed.length, freed, freed * 8 * 512]);
      await rm(root, { recursive: true });
      await mkdir(root);
    }),
    { numRuns: 100 },
  );
});

const lone: Manifest = { images: [], subject: undefined, layers: [1], old: true, tagged: false };

test("a list that broke off removes nothing and fails", async () => {
  const lines = await linesOf(new Map([["one", [lone]]]));
  expect((await survey(lines)).removed).toHaveLength(1);
  const { removed, exitCode, figures } = await survey(lines.filter((line) => line !== "decide"));
  expect({ removed, exitCode, figures }).toEqual({ removed: [], exitCode: 1, figures: [] });
});

test("a remover that fails makes it fail", async () => {
  const lines = await linesOf(new Map([["one", [lone]]]));
  const args = ["awk", "-v", `blobs=${root}/blobs`, "-v", `cutoff=${CUTOFF}`, "-v", "remover=cat; false", "-f", SURVEY];
  const { exitCode } = await execa(busybox, args, { input: `${lines.join("\n")}\n`, reject: false });
  expect(exitCode).toBe(1);
});

test("digests of other kinds, and what merely lies there, are never removed", async () => {
  const sha512 = "f".repeat(128);
  const folder = `${root}/repositories/one/_manifests/revisions`;
  const lines = [
    `revision 1 ${folder}/sha512/${sha512}/link`,
    `revision 1 ${folder}/sha256/${"a".repeat(64)}/signatures/sha256/${"b".repeat(64)}/link`,
    "decide",
  ];
  expect((await survey(lines)).removed).toEqual([]);
});

test("ten times the manifests take some ten times the time", async () => {
  const timeOf = async (count: number) => {
    const manifests = Array.from({ length: count }, (_, place) => ({
      ...lone,
      ...(place % 5 === 4 ? { images: [place - 1, place - 2], tagged: place % 2 === 0 } : {}),
      ...(place % 5 === 3 ? { subject: place - 3 } : {}),
    }));
    const lines = await linesOf(new Map([["one", manifests]]));
    const start = performance.now();
    expect((await survey(lines)).exitCode).toBe(0);
    return performance.now() - start;
  };
  const [few, many] = [await timeOf(1000), await timeOf(10_000)];
  console.log(`1,000 manifests of one repository: ${few.toFixed(0)} ms; 10,000: ${many.toFixed(0)} ms`);
  // A hundred times, if each were compared with each.
  expect(many).toBeLessThan(30 * few);
});
