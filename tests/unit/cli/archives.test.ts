import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { pack } from "tar-stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TarFiles } from "../../../cli/transfer/files.ts";
import { gzipped } from "../../../cli/transfer/gzip.ts";
import { type OpenedImage, openArchive } from "../../../cli/transfer/open.ts";
import { tar } from "../../../lab/images/tar.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "homecloud-archives-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const sha256 = (content: Uint8Array | string) => `sha256:${createHash("sha256").update(content).digest("hex")}`;

/** Writes an archive and opens it, as `push` does. */
async function opened(archive: Buffer, image?: string, told: string[] = []): Promise<OpenedImage> {
  const file = join(folder, "archive.tar");
  await writeFile(file, archive);
  const scratch = await mkdtemp(join(folder, "scratch-"));
  return await openArchive(file, {
    scratch,
    image,
    tell: (text) => told.push(text),
    onLayer: () => () => {},
  });
}

const layers = [randomBytes(3000), Buffer.from("the same again and again ".repeat(1000))];
const configOf = (...plain: Buffer[]) =>
  JSON.stringify({ os: "linux", architecture: "amd64", rootfs: { type: "layers", diff_ids: plain.map(sha256) } });

/** What `docker save` wrote before Docker 25. */
const saved = (names: string[] | null, plain = layers, paths = plain.map((_, index) => `${index}/layer.tar`)) =>
  tar([
    ...plain.map((content, index) => ({ path: paths[index] ?? "", content })),
    { path: "config.json", content: configOf(...plain) },
    { path: "manifest.json", content: JSON.stringify([{ Config: "config.json", RepoTags: names, Layers: paths }]) },
  ]);

/** One layer, and this configuration. */
const savedWith = (config: string) =>
  tar([
    { path: "l.tar", content: layers[1] as Buffer },
    { path: "c.json", content: config },
    { path: "manifest.json", content: JSON.stringify([{ Config: "c.json", RepoTags: ["app:1"], Layers: ["l.tar"] }]) },
  ]);

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

/** Files of an OCI layout, as many as wanted. */
class Layout {
  readonly files: { path: string; content: Buffer | string }[] = [{ path: "oci-layout", content: "{}" }];

  blob(content: Buffer | string, mediaType: string): Descriptor {
    this.files.push({ path: `blobs/${sha256(content).replace(":", "/")}`, content });
    return { mediaType, digest: sha256(content), size: Buffer.byteLength(content) };
  }

  image(content: Buffer, layerType = "application/vnd.oci.image.layer.v1.tar+gzip"): Descriptor {
    const config = this.blob(configOf(content), "application/vnd.oci.image.config.v1+json");
    const layers = [this.blob(content, layerType)];
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    return this.blob(JSON.stringify({ schemaVersion: 2, mediaType, config, layers }), mediaType);
  }

  list(...manifests: object[]): Descriptor {
    const mediaType = "application/vnd.oci.image.index.v1+json";
    return this.blob(JSON.stringify({ schemaVersion: 2, mediaType, manifests }), mediaType);
  }

  archive(...manifests: object[]): Buffer {
    return tar(this.all(manifests));
  }

  /** The same as a folder. */
  async write(folder: string, ...manifests: object[]): Promise<void> {
    for (const { path, content } of this.all(manifests)) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), content);
    }
  }

  private all(manifests: object[]) {
    return [...this.files, { path: "index.json", content: JSON.stringify({ schemaVersion: 2, manifests }) }];
  }
}

const named = (descriptor: Descriptor, name: string) => ({
  ...descriptor,
  annotations: { "org.opencontainers.image.ref.name": name },
});

describe("a docker-archive", () => {
  test("its layers compressed, its configuration untouched, its name without the host", async () => {
    const { tree, repository, tag } = await opened(saved(["ghcr.io/team/app:1.0", "team/app:latest"]));
    expect({ repository, tag }).toEqual({ repository: "team/app", tag: "1.0" });
    const [config, ...blobs] = tree.blobs;
    expect((await buffer(config?.open() ?? Readable.from([]))).toString()).toBe(configOf(...layers));
    const unpacked = await Promise.all(blobs.map(async (blob) => gunzipSync(await buffer(blob.open()))));
    expect(unpacked).toEqual(layers);
    for (const blob of blobs) expect(sha256(await buffer(blob.open()))).toBe(blob.digest);
    expect(JSON.parse(tree.bytes.toString())).toMatchObject({
      mediaType: "application/vnd.docker.distribution.manifest.v2+json",
      layers: blobs.map(({ digest, size }) => ({ digest, size })),
    });
  });

  test("the same digest each time, and compressed with gzip or zstd too", async () => {
    const once = await opened(saved(["app:1"]));
    const again = await opened(gzipSync(saved(["other:2"])));
    expect(again.tree.digest).toBe(once.tree.digest);
    expect(again).toMatchObject({ repository: "other", tag: "2" });
    expect((await opened(zstdCompressSync(saved(["app:1"])))).tree.digest).toBe(once.tree.digest);
    await expect(opened(Buffer.from("fd377a585a000004", "hex"))).rejects.toThrow(/compressed with xz: unpack it first/);
  });

  test("a blob is read from anywhere, for uploads that broke", async () => {
    const { tree } = await opened(saved(null));
    for (const blob of tree.blobs) {
      const whole = await buffer(blob.open());
      expect(await buffer(blob.open(100))).toEqual(whole.subarray(100));
      expect(await buffer(blob.open(whole.length))).toHaveLength(0);
    }
  });

  test("layers that are compressed already stay what they are", async () => {
    const packed = gzipSync(layers[1] ?? Buffer.alloc(0), { level: 9 });
    const { tree } = await opened(
      tar([
        { path: "l.tar.gz", content: packed },
        { path: "c.json", content: configOf(layers[1] ?? Buffer.alloc(0)) },
        {
          path: "manifest.json",
          content: JSON.stringify([{ Config: "c.json", RepoTags: null, Layers: ["l.tar.gz"] }]),
        },
      ]),
    );
    expect(tree.blobs[1]?.digest).toBe(sha256(packed));
  });

  test("layers that are links to another's", async () => {
    const [layer = Buffer.alloc(0)] = layers;
    const paths = ["a/layer.tar", "b/layer.tar"];
    const { tree } = await opened(
      tar([
        { path: "a/layer.tar", content: layer },
        { path: "b/layer.tar", linkTo: "../a/layer.tar" },
        { path: "c.json", content: configOf(layer, layer) },
        { path: "manifest.json", content: JSON.stringify([{ Config: "c.json", RepoTags: null, Layers: paths }]) },
      ]),
    );
    expect(tree.blobs).toHaveLength(3);
  });

  test("several images: one has to be named", async () => {
    const config = configOf();
    const entry = (name: string) => ({ Config: "c.json", RepoTags: [name], Layers: [] });
    const archive = tar([
      { path: "c.json", content: config },
      { path: "manifest.json", content: JSON.stringify([entry("a:1"), entry("b:2")]) },
    ]);
    await expect(opened(archive)).rejects.toThrow(/holds 2 images: choose one with --image: a:1, b:2/);
    expect(await opened(archive, "b:2")).toMatchObject({ repository: "b", tag: "2" });
    await expect(opened(archive, "c:3")).rejects.toThrow(/no image c:3; there are: a:1, b:2/);
  });

  test("a layer with another content than the configuration says is refused", async () => {
    const archive = saved(["app:1"]);
    archive[600] = (archive[600] ?? 0) ^ 1;
    await expect(opened(archive)).rejects.toThrow(/the layer 0\/layer.tar is not sha256:/);
  });

  test("an archive that was cut is refused", async () => {
    await expect(opened(saved(["app:1"]).subarray(0, 5000))).rejects.toThrow(/archive.tar is no whole/);
    await expect(opened(gzipSync(saved(["app:1"])).subarray(0, 2000))).rejects.toThrow(/cannot be unpacked/);
  });

  test.each(["../../victim", "sha256:../../victim", `sha256:${"a".repeat(64)}/../../victim`, 5, null])(
    "a layer that its configuration calls %j is refused, and no file is written by that name",
    async (diffId) => {
      const victim = join(folder, "victim");
      await writeFile(victim, "the user's");
      await expect(opened(savedWith(JSON.stringify({ rootfs: { diff_ids: [diffId] } })))).rejects.toThrow(
        /archive.tar is no whole image: c.json names a layer by what is no digest/,
      );
      expect(await readFile(victim, "utf8")).toBe("the user's");
    },
  );

  test("what should be JSON, and is none or says nothing of an image, is a damaged archive", async () => {
    await expect(opened(savedWith("{ broken"))).rejects.toThrow(/archive.tar is no whole image: c.json is no JSON/);
    await expect(opened(savedWith("null"))).rejects.toThrow(/1 layers, where the configuration names 0/);
    for (const content of ["{}", '[{"Config":5,"Layers":[]}]', "[null]"]) {
      await expect(opened(tar([{ path: "manifest.json", content }]))).rejects.toThrow(
        /archive.tar is no whole image: its manifest.json is not one of docker save/,
      );
    }
  });

  test("what is known to be in the registry is not compressed again", async () => {
    const file = join(folder, "known.tar");
    await writeFile(file, saved(["app:1"]));
    const packed = { digest: sha256("known"), size: 5 };
    const { tree } = await openArchive(file, {
      scratch: folder,
      tell: () => {},
      onLayer: (path) => {
        throw new Error(`${path} was compressed`);
      },
      alreadyThere: async () => packed,
    });
    expect(tree.blobs.slice(1)).toMatchObject([packed, packed]);
  });
});

describe("an OCI layout", () => {
  test("a list keeps its bytes, its images and its tag", async () => {
    const layout = new Layout();
    const images = layers.map((layer) => layout.image(layer));
    const list = layout.list(
      { ...images[0], platform: { os: "linux", architecture: "amd64" } },
      { ...images[1], platform: { os: "linux", architecture: "arm64" } },
    );
    const { tree, repository, tag } = await opened(layout.archive(named(list, "1.0")));
    expect({ repository, tag, digest: tree.digest }).toEqual({
      repository: undefined,
      tag: "1.0",
      digest: list.digest,
    });
    expect(tree.parts.map(({ digest }) => digest)).toEqual(images.map(({ digest }) => digest));
  });

  test("a whole name, as containerd writes it", async () => {
    const layout = new Layout();
    const image = {
      ...layout.image(layers[0] as Buffer),
      annotations: { "io.containerd.image.name": "docker.io/library/app:3" },
    };
    expect(await opened(layout.archive(image))).toMatchObject({ repository: "app", tag: "3" });
  });

  test("of a list whose images are not all there, the one that is; and a person is told", async () => {
    const layout = new Layout();
    const there = layout.image(layers[0] as Buffer);
    const missing = new Layout().image(layers[1] as Buffer);
    const list = layout.list(
      { ...there, platform: { os: "linux", architecture: "amd64" } },
      { ...missing, platform: { os: "linux", architecture: "arm64" } },
    );
    const told: string[] = [];
    const { tree } = await opened(layout.archive(named(list, "app:1")), undefined, told);
    expect(tree.digest).toBe(there.digest);
    expect(told.join()).toMatch(/has only linux\/amd64 of 2 images/);
  });

  test("docker save of today: both forms in one; plain layers are compressed, others kept", async () => {
    const both = (layerType: string, content: Buffer) => {
      const layout = new Layout();
      const image = layout.image(content, layerType);
      const path = (bytes: Buffer | string) => `blobs/${sha256(bytes).replace(":", "/")}`;
      const entry = { Config: path(configOf(content)), RepoTags: ["app:7"], Layers: [path(content)] };
      layout.files.push({ path: "manifest.json", content: JSON.stringify([entry]) });
      return { archive: layout.archive(image), image };
    };
    const plain = both("application/vnd.oci.image.layer.v1.tar", layers[1] as Buffer);
    const packed = await opened(plain.archive);
    expect(packed).toMatchObject({ repository: "app", tag: "7" });
    expect(gunzipSync(await buffer(packed.tree.blobs[1]?.open() ?? Readable.from([])))).toEqual(layers[1]);
    const kept = both("application/vnd.oci.image.layer.v1.tar+gzip", layers[1] as Buffer);
    expect((await opened(kept.archive)).tree.digest).toBe(kept.image.digest);
  });

  test("a blob that is missing or cut, and a manifest with another content, are refused", async () => {
    const missing = new Layout();
    const image = missing.image(layers[0] as Buffer);
    missing.files.splice(2, 1);
    await expect(opened(missing.archive(named(image, "1")))).rejects.toThrow(
      /the blob sha256:\w+ has no bytes, not 3000/,
    );
    const changed = new Layout();
    const other = changed.image(layers[0] as Buffer);
    Object.assign(changed.files.at(-1) ?? {}, { content: "{}" });
    await expect(opened(changed.archive(named(other, "1")))).rejects.toThrow(/has another content/);
  });

  test("a digest that leads out of the layout is refused", async () => {
    const entry = { mediaType: "x", digest: "sha256:../../../../etc/passwd", size: 1 };
    await expect(opened(new Layout().archive(entry))).rejects.toThrow(/is no digest that is known here/);
  });
});

describe("the folder of an OCI layout", () => {
  const open = () => openArchive(join(folder, "layout"), { scratch: folder, tell: () => {}, onLayer: () => () => {} });

  test("is read as its archive is, also by a link to it", async () => {
    const layout = new Layout();
    const image = layout.image(layers[0] as Buffer);
    await layout.write(join(folder, "real"), named(image, "1.0"));
    await symlink("real", join(folder, "layout"));
    const { tree, tag } = await open();
    expect({ tag, digest: tree.digest }).toEqual({ tag: "1.0", digest: image.digest });
    expect(await buffer(tree.blobs[1]?.open(100) ?? Readable.from([]))).toEqual(layers[0]?.subarray(100));
  });

  test("cannot have a file beside it pushed, by the paths of manifest.json or by a link", async () => {
    const secret = configOf();
    await writeFile(join(folder, "secret.json"), secret);
    const layout = new Layout();
    await layout.write(join(folder, "layout"));
    for (const [config, why] of [
      ["../secret.json", /\.\.\/secret.json is not in the folder/],
      ["link.json", /link.json is not in the folder/],
    ] as const) {
      const saved = [{ Config: config, RepoTags: ["app:1"], Layers: [] }];
      await writeFile(join(folder, "layout", "manifest.json"), JSON.stringify(saved));
      await symlink("../secret.json", join(folder, "layout", "link.json")).catch(() => {});
      await expect(open()).rejects.toThrow(why);
    }
  });

  test("cannot have a file pushed that its blobs link to", async () => {
    const layout = new Layout();
    const image = layout.image(layers[0] as Buffer);
    await layout.write(join(folder, "layout"), named(image, "1.0"));
    const blob = join(folder, "layout", "blobs", sha256(layers[0] as Buffer).replace(":", "/"));
    await rm(blob);
    await writeFile(join(folder, "secret"), layers[0] as Buffer);
    await symlink(join(folder, "secret"), blob);
    await expect(open()).rejects.toThrow(/blobs\/sha256\/[0-9a-f]{64} is not in the folder/);
  });
});

describe("tar archives", () => {
  test("long names in every way that tar writes them", async () => {
    const long = `${"folder/".repeat(30)}file`;
    const archive = pack();
    archive.entry({ name: long }, "content");
    archive.entry({ name: "after" }, "more");
    archive.finalize();
    const file = join(folder, "long.tar");
    await writeFile(file, await buffer(archive as unknown as Readable));
    const files = await TarFiles.read(file);
    expect((await buffer(files.open(long))).toString()).toBe("content");
    expect((await buffer(files.open("./after"))).toString()).toBe("more");
    expect(await files.size("none")).toBeUndefined();
  });
});

describe("gzip on all processors", () => {
  test("what does not get smaller is stored, part by part", async () => {
    const content = Buffer.concat([randomBytes(4 * 2 ** 20), Buffer.alloc(4 * 2 ** 20, "text ")]);
    const packed = await buffer(Readable.from(gzipped(Readable.from([content]))));
    expect(gunzipSync(packed).equals(content)).toBe(true);
    expect(packed.length).toBeGreaterThan(4 * 2 ** 20);
    expect(packed.length).toBeLessThan(4.1 * 2 ** 20);
  });

  test.each([0, 1, 4 * 2 ** 20, 9 * 2 ** 20 + 17])("%d bytes come back, and are the same each time", async (size) => {
    const content = Buffer.alloc(size, "some text that repeats ");
    const compress = (chunk: number) => {
      const chunks = Array.from({ length: Math.ceil(size / chunk) }, (_, index) =>
        content.subarray(index * chunk, (index + 1) * chunk),
      );
      return buffer(Readable.from(gzipped(Readable.from(chunks))));
    };
    const packed = await compress(65_536);
    expect(gunzipSync(packed).equals(content)).toBe(true);
    // However the disk cuts it.
    expect(await compress(1_000_003)).toEqual(packed);
  });
});
