import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import {
  type RegistriesYaml,
  type RegistryLogin,
  renderRegistriesYaml,
  trustedRegistries,
} from "../../components/node-trust/registries-yaml.ts";
import { prepareTools } from "../../lab/lab.ts";
import { acceptedTrust, anyRegistries, inFull, managedRegistry } from "../trust-settings.ts";

/** Each time others; SEED=… has those of a run that failed. One process reads them all: it takes longer than a file. */
const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31);
const FILES = 500;

let k3s: string;
let folder: string;

beforeAll(async () => {
  k3s = (await prepareTools((line) => console.error(line), ["k3s"])).bin("k3s");
  folder = await mkdtemp(join(tmpdir(), "homecloud-registries-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("K3s's own parser reads back what was meant", () => {
  test("of all settings that the loader accepts", async () => {
    await expectReadBack(fc.tuple(managedRegistry, acceptedTrust).map((args) => trustedRegistries(...args)));
  });

  test("of all text, in every place", async () => {
    await expectReadBack(anyRegistries);
  });
});

async function expectReadBack(contents: fc.Arbitrary<RegistriesYaml>): Promise<void> {
  const all = fc.sample(contents, { numRuns: FILES, seed: SEED });
  const files = all.map((content) => renderRegistriesYaml(content, "homelab"));
  const read = await readByK3s(files);
  expect(read).toHaveLength(FILES);
  for (const [index, content] of all.entries()) {
    expect(read[index], `SEED=${SEED}, file ${index}:\n${files[index]}`).toEqual(inFull(content));
  }
}

/** What K3s makes of these files. */
async function readByK3s(files: string[]): Promise<RegistriesYaml[]> {
  const paths = files.map((_, index) => join(folder, `${index}.yaml`));
  await Promise.all(files.map((text, index) => writeFile(paths[index] ?? "", text)));
  const { stdout } = await execa(k3s, ["read-registries"], { input: paths.map((path) => `${path}\n`).join("") });
  // Not JSON.parse: in Node 24.21, once it has read {"p":1,"a\\":1}, it takes the key of {"p":1,"a\n":1} for the first's.
  return stdout.split("\n").map((line) => inFull(asInYaml(parse(line))));
}

/** As JSON the parser spells one field in another way than it reads it. */
function asInYaml(read: { error?: string } & RegistriesYaml): RegistriesYaml {
  if (read.error) throw new Error(`K3s cannot read a file of SEED=${SEED}: ${read.error}`);
  const configs = Object.entries(read.configs ?? {}).map(([key, { auth, tls }]) => [key, { auth: spelled(auth), tls }]);
  return { ...read, configs: Object.fromEntries(configs) };
}

function spelled(auth: (RegistryLogin & { identitytoken?: string }) | null | undefined): RegistryLogin {
  const { identitytoken, ...rest } = auth ?? {};
  return { ...rest, identity_token: identitytoken };
}
