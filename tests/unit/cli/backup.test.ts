import { Readable, Writable } from "node:stream";
import { buffer } from "node:stream/consumers";
import type { V1Deployment } from "@kubernetes/client-node";
import { type Pack, pack } from "tar-stream";
import { describe, expect, test } from "vitest";
import { ArchiveReader, ArchiveWriter } from "../../../cli/backup/archive.ts";
import { blobDigest, type Contents, fileName, parseContents, placeOf, sumLine } from "../../../cli/backup/format.ts";
import { editionOf, helperPod } from "../../../cli/backup/localstack-pause.ts";
import { summary as saved } from "../../../cli/commands/backup.ts";
import { summary as restored } from "../../../cli/commands/restore.ts";
import { localstackPod } from "../../../components/localstack/pod.ts";
import { loadSettings } from "../../../config/load.ts";
import { PROJECT } from "../../../config/project.ts";
import { restrictedProblems, type SecuredPod } from "../pod-security.ts";

const NEVER = new AbortController().signal;
const HEX = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

const contents: Contents = {
  homecloudBackup: 1,
  time: "2026-11-21T21:00:00.000Z",
  stack: "homelab",
  registry: { bytes: 5, blobs: 1, image: "registry:3.1.2" },
};

/** A backup of these files of the registry. */
async function backupOf(files: Record<string, string>, told: Contents = contents): Promise<Buffer> {
  const pieces: Buffer[] = [];
  const output = new Writable({
    write: (piece: Buffer, _, done) => {
      pieces.push(piece);
      done();
    },
  });
  const writer = new ArchiveWriter(output, NEVER);
  await writer.contents(told);
  await writer.add("registry", tarOf(files));
  await writer.finish(new Date(told.time));
  return Buffer.concat(pieces);
}

function tarOf(files: Record<string, string>): Readable {
  const tar = pack();
  for (const [name, content] of Object.entries(files)) tar.entry({ name, mode: 0o640 }, content);
  tar.finalize();
  return tar as unknown as Readable;
}

/** Reads it to its end; returns what was handed on. */
async function read(bytes: Buffer): Promise<{ names: string[]; broken: string[]; tar: Buffer }> {
  const target: Pack = pack();
  const tar = buffer(target as unknown as Readable);
  const reader = await ArchiveReader.open(Readable.from([bytes]), NEVER);
  const names: string[] = [];
  for await (const { part, header, into } of reader.entries()) {
    names.push(`${part}:${header.name}`);
    await into(target);
  }
  target.finalize();
  return { names, broken: reader.broken, tar: await tar };
}

const FILES = {
  [`docker/registry/v2/blobs/sha256/2c/${HEX}/data`]: "hello",
  "docker/registry/v2/repositories/app/_manifests/tags/1.0/current/link": `sha256:${HEX}`,
  [`docker/registry/v2/repositories/${"long/".repeat(40)}link`]: "a name that no plain tar header holds",
};

describe("a backup", () => {
  test("gives back what it was made of", async () => {
    const { names, broken } = await read(await backupOf(FILES));
    expect(names).toEqual(Object.keys(FILES).map((name) => `registry:${name}`));
    expect(broken).toEqual([]);
  });

  test("that was cut, anywhere, is no whole one", async () => {
    const whole = await backupOf(FILES);
    for (let length = 0; length < whole.length - 1024; length += 256) {
      await expect(read(whole.subarray(0, length)), `${length} bytes`).rejects.toThrow(/is no backup|is not whole/);
    }
  });

  test("in which a byte was changed, anywhere but in what nobody reads, is refused", async () => {
    const whole = await backupOf(FILES);
    const { tar } = await read(whole);
    for (let at = 0; at < whole.length - 1024; at += 13) {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ 1;
      const outcome = await read(changed).catch(() => undefined);
      // What fills a block up, and nothing else.
      if (outcome) expect(outcome.tar.equals(tar), `byte ${at}`).toBe(true);
    }
  });

  test("names a file that is not what its sums say, and a blob that is not what its name says", async () => {
    const whole = await backupOf(FILES);
    const at = whole.indexOf("hello");
    whole.write("HELLO", at);
    await expect(read(whole)).rejects.toThrow(new RegExp(`${HEX}/data is not what SHA256SUMS says`));
    // Broken when it was saved: the backup is whole, and the blob is known.
    const { broken } = await read(
      await backupOf({ ...FILES, [`docker/registry/v2/blobs/sha256/2c/${HEX}/data`]: "HELLO" }),
    );
    expect(broken).toEqual([`sha256:${HEX}`]);
  });

  test("of a newer format, and what is none, are refused in a sentence", async () => {
    const newer = JSON.stringify({ homecloudBackup: 2 });
    expect(() => parseContents(newer)).toThrow("was made by a newer homecloud (format 2, this one reads 1)");
    expect(() => parseContents("{}")).toThrow("is no backup of homecloud's: its backup.json names no format");
    expect(() => parseContents("<html>")).toThrow("is no backup of homecloud's: its backup.json is no JSON");
    const other = await buffer(tarOf({ "manifest.json": "[]" }));
    await expect(read(other)).rejects.toThrow("is no backup of homecloud's: it does not begin with backup.json");
  });
});

test("no name in it leads out of its part", () => {
  expect(placeOf("registry/docker/a")).toEqual({ part: "registry", path: "docker/a" });
  expect(placeOf("localstack/state/")).toEqual({ part: "localstack", path: "state" });
  for (const name of ["registry/../etc/passwd", "/etc/passwd", "other/file", "registry//a", "registry/./a", ""])
    expect(() => placeOf(name), name).toThrow("is no backup");
});

test("only the registry's blobs carry a digest in their names", () => {
  expect(blobDigest(`registry/docker/registry/v2/blobs/sha256/2c/${HEX}/data`)).toBe(HEX);
  expect(blobDigest(`localstack/docker/registry/v2/blobs/sha256/2c/${HEX}/data`)).toBeUndefined();
  expect(blobDigest("registry/docker/registry/v2/repositories/app/_layers/link")).toBeUndefined();
});

test("a sum stands as sha256sum writes it", () => {
  expect(sumLine(HEX, "a b")).toBe(`${HEX}  a b\n`);
  expect(sumLine(HEX, "a\\b\nc")).toBe(`\\${HEX}  a\\\\b\\nc\n`);
});

test("its file is named by stack and time", () => {
  expect(fileName(contents)).toBe("homecloud-homelab-20261121T210000Z.tar");
  expect(fileName({ ...contents, stack: "../x" })).toBe("homecloud-.._x-20261121T210000Z.tar");
});

test("what was done, in a line each", () => {
  expect(
    saved({
      ...{ file: "/nas/a.tar", bytes: 600e6, seconds: 6 },
      registry: { blobs: 18, bytes: 600e6, writesHeldSeconds: 1, broken: [] },
      localstack: { bytes: 2 ** 20, awaySeconds: 31 },
    }),
  ).toBe(
    "/nas/a.tar: 572 MiB in 6.0 s, 100 MB/s\nregistry    18 blobs, 572 MiB; pushes waited 1 s\nlocalstack  1 MiB; away for 31 s",
  );
  expect(restored(contents, { registry: { files: 3, writesHeldSeconds: 2, dropped: [] }, localstack: undefined })).toBe(
    "restored as it was at 2026-11-21T21:00:00.000Z (stack homelab); every checksum fits\nregistry    3 files; pushes waited 2 s",
  );
});

describe("of LocalStack's Deployment, as this program deploys it,", () => {
  function deploymentOf(localstack: object): V1Deployment {
    const given = { domain: "homelab.local", tls: JSON.stringify({ mode: "private-ca" }) };
    const values = Object.fromEntries(
      Object.entries({ ...given, localstack: JSON.stringify(localstack) }).map(([key, value]) => [
        `${PROJECT}:${key}`,
        value,
      ]),
    );
    const { localstack: settings } = loadSettings({ project: PROJECT, stack: "homelab", values, secretKeys: [] });
    if (!settings) throw new Error("there is no LocalStack in these settings");
    const spec = localstackPod({ settings, https: true, privateCa: false, gateTls: false, initScripts: [] });
    return { metadata: { namespace: "localstack" }, spec: { selector: {}, template: { spec } } } as V1Deployment;
  }

  test("the edition is known", () => {
    for (const edition of ["community", "ephemeral"] as const) {
      const deployment = deploymentOf({ edition, lambda: { mode: "none" } });
      expect(editionOf(deployment.spec?.template.spec?.containers ?? [])).toBe(edition);
    }
    const mount = { name: "data", mountPath: "/var/lib/localstack", subPath: "localstack-pro" };
    expect(editionOf([{ name: "localstack", volumeMounts: [mount] }])).toBe("pro");
  });

  test("a pod is made that holds its volume, where LocalStack's would run, in a restricted namespace", () => {
    const tolerations = [{ key: "slow", operator: "Exists" }];
    const deployment = deploymentOf({ nodeSelector: { disk: "ssd" }, tolerations });
    const { spec, metadata } = helperPod(deployment);
    expect(restrictedProblems(spec as unknown as SecuredPod)).toEqual([]);
    expect(spec).toMatchObject({ nodeSelector: { disk: "ssd" }, tolerations, restartPolicy: "Never" });
    expect(spec?.volumes?.[0]).toMatchObject({ persistentVolumeClaim: { claimName: "localstack-data" } });
    expect(spec?.containers[0]?.image).toBe(
      deployment.spec?.template.spec?.containers.find(({ name }) => name === "gate")?.image,
    );
    // LocalStack's Service must not lead to it.
    expect(metadata?.labels?.["app.kubernetes.io/name"]).not.toBe("localstack");
  });
});
