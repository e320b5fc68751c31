import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RegistryError } from "../../../cli/registry/client.ts";
import { KnownBlobs } from "../../../cli/transfer/known-blobs.ts";
import { splitName, withoutHost } from "../../../cli/transfer/names.ts";
import { imageFor, parsePlatform } from "../../../cli/transfer/platform.ts";
import { Retries } from "../../../cli/transfer/retries.ts";

describe("names of images", () => {
  test.each([
    ["nginx:1", "nginx:1"],
    ["docker.io/library/nginx:1", "nginx:1"],
    ["docker.io/grafana/grafana:9", "grafana/grafana:9"],
    ["ghcr.io/team/app:1", "team/app:1"],
    ["localhost/app:1", "app:1"],
    ["localhost:5001/team/app", "team/app"],
    ["registry.homelab.local/team/app:1.0", "team/app:1.0"],
    ["team/app:1", "team/app:1"],
  ])("%s is %s here", (name, here) => {
    expect(withoutHost(name)).toBe(here);
  });

  test("tags and digests", () => {
    expect(splitName("ghcr.io:443/team/app:1.0@sha256:abc")).toEqual({ repository: "team/app", tag: "1.0" });
    expect(splitName("team/app")).toEqual({ repository: "team/app", tag: undefined });
  });
});

describe("platforms", () => {
  const list = ["linux/amd64", "linux/arm64/v8", "linux/arm/v6", "linux/arm/v7"].map((name, index) => ({
    mediaType: "m",
    digest: `sha256:${index}`,
    size: 1,
    platform: parsePlatform(name),
  }));

  test.each([
    ["linux/amd64", 0],
    ["linux/arm64", 1],
    ["linux/arm64/v8", 1],
    ["linux/arm/v7", 3],
    ["linux/arm/v6", 2],
  ])("%s", (wanted, index) => {
    expect(imageFor(list, parsePlatform(wanted), "app").digest).toBe(`sha256:${index}`);
  });

  test("one that is not there: what is", () => {
    const attestation = { mediaType: "m", digest: "d", size: 1, platform: { os: "unknown", architecture: "unknown" } };
    expect(() => imageFor([...list, attestation], parsePlatform("windows/amd64"), "app:1")).toThrow(
      "app:1 has no image for windows/amd64; there are: linux/amd64, linux/arm64/v8, linux/arm/v6, linux/arm/v7.",
    );
    expect(() => parsePlatform("amd64")).toThrow("no platform");
  });
});

describe("trying again", () => {
  const failing = (errors: unknown[]) => async () => {
    const error = errors.shift();
    if (error) throw error;
    return "done";
  };
  const broken = () => new RegistryError("it broke");

  test("helps where the connection broke or the server failed, and a person is told once", async () => {
    const told: string[] = [];
    const retries = new Retries({ pause: 1, tell: (text) => told.push(text) });
    const both = [1, 2].map(() => retries.run(failing([broken(), new RegistryError("it failed", { status: 502 })])));
    expect(await Promise.all(both)).toEqual(["done", "done"]);
    expect(told).toEqual(["it broke: trying again in 1 s", "it failed: trying again in 1 s"]);
  });

  test("ends after five tries", async () => {
    const errors = Array.from({ length: 9 }, broken);
    await expect(new Retries({ pause: 1 }).run(failing(errors))).rejects.toThrow("it broke");
    expect(errors).toHaveLength(4);
  });

  test("waits as long as the registry says, but not for ever", async () => {
    const busy = () => new RegistryError("collecting garbage", { status: 503, retryAfter: 0.02 });
    const many = Array.from({ length: 8 }, busy);
    expect(await new Retries({ pause: 1, patience: 1000 }).run(failing(many))).toBe("done");
    await expect(new Retries({ pause: 1, patience: 50 }).run(failing([busy(), busy(), busy()]))).rejects.toThrow(
      "garbage",
    );
  });

  test("stops where another transfer has failed for good", async () => {
    const retries = new Retries({ pause: 60_000 });
    const waiting = retries.run(failing([broken()]));
    setTimeout(() => retries.stop(), 10);
    await expect(waiting).rejects.toThrow("it broke");
    await expect(retries.run(failing([broken()]))).rejects.toThrow("it broke");
  });

  test.each([400, 401, 403, 404])("does not help against a %d", async (status) => {
    const errors = [new RegistryError("no", { status }), broken()];
    await expect(new Retries({ pause: 1 }).run(failing(errors))).rejects.toThrow("no");
    expect(errors).toHaveLength(1);
  });
});

describe("what pushes remember", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "homecloud-known-"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  test("each registry for itself, over runs", async () => {
    const file = join(folder, "new", "blobs.json");
    const known = await KnownBlobs.load("one", file);
    known.seen("sha256:a", "team/app");
    known.packed("sha256:plain", { digest: "sha256:a", size: 7 });
    await known.save();
    const [one, two] = [await KnownBlobs.load("one", file), await KnownBlobs.load("two", file)];
    expect(one.repositoryOf("sha256:a")).toBe("team/app");
    expect(two.repositoryOf("sha256:a")).toBeUndefined();
    expect(two.packedOf("sha256:plain")).toEqual({ digest: "sha256:a", size: 7 });
  });

  test("a broken file is forgotten, and does not grow without end", async () => {
    const file = join(folder, "blobs.json");
    await writeFile(file, "{ broken");
    const known = await KnownBlobs.load("one", file);
    for (let number = 0; number < 6000; number++) known.seen(`sha256:${number}`, "app");
    await known.save();
    const kept = JSON.parse(await readFile(file, "utf8")) as { repositories: { one: object } };
    expect(Object.keys(kept.repositories.one)).toHaveLength(5000);
    expect(kept.repositories.one).toHaveProperty("sha256:5999");
  });
});
