import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createConnection, createServer, type Server } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RegistryClient as CliClient } from "../../cli/registry/client.ts";
import { makeBars } from "../../cli/transfer/bars.ts";
import { openArchive } from "../../cli/transfer/open.ts";
import { readRemote, writeArchive } from "../../cli/transfer/pull.ts";
import { pushImage } from "../../cli/transfer/push.ts";
import { Retries } from "../../cli/transfer/retries.ts";
import type { Blob } from "../../cli/transfer/tree.ts";
import { tar } from "../../lab/images/tar.ts";
import type { Tools } from "../../lab/lab.ts";
import { ociImage, ociIndex } from "../e2e/images.ts";
import { podTools, testTools } from "../tools.ts";
import { RegistryClient, sha256 } from "./client.ts";
import { ClusterStandIn, HOMECLOUD } from "./cluster-stand-in.ts";
import { Pod, WRITER } from "./pod.ts";

let tools: Tools;
let pod: Pod;
let cluster: ClusterStandIn;
let folder: string;

beforeAll(async () => {
  tools = await testTools();
  pod = await Pod.start(await podTools(tools));
  cluster = await ClusterStandIn.start({ url: pod.url, host: pod.host, user: WRITER });
  folder = join(cluster.home, "work");
  await mkdir(folder);
});
afterAll(async () => {
  await cluster?.stop();
  await pod?.stop();
});

const file = (name: string) => join(folder, name);

async function skopeo(...args: string[]): Promise<string> {
  const { stdout } = await execa(tools.bin("skopeo"), args, { stripFinalNewline: false });
  return stdout;
}

const LOGIN = ["--tls-verify=false", "--creds", `${WRITER.name}:${WRITER.password}`];

/** Digest of a tag as the registry serves it, to a client that is not ours. */
const digestOf = async (image: string) =>
  sha256(await skopeo("inspect", "--raw", ...LOGIN, `docker://${pod.host}/${image}`));

const rawDigest = async (source: string) => sha256(await skopeo("inspect", "--raw", source));

interface PushAnswer {
  reference: string;
  digest: string;
  blobs: { sent: number; present: number; mounted: number };
  sentBytes: number;
}

async function push(...args: string[]): Promise<PushAnswer> {
  const { exitCode, stdout, stderr } = await cluster.run(["push", "--json", ...args]);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout) as PushAnswer;
}

async function pull(...args: string[]): Promise<{ digest: string; receivedBytes: number }> {
  const { exitCode, stdout, stderr } = await cluster.run(["pull", "--json", ...args]);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout) as { digest: string; receivedBytes: number };
}

describe("what is pushed is what was there", () => {
  test("an OCI layout of two platforms, as a folder, an archive and a gzip'd archive", async () => {
    const layout = await ociIndex();
    await skopeo(
      "copy",
      "--all",
      "--preserve-digests",
      `oci:${layout.folder}:1.0`,
      `oci-archive:${file("two.tar")}:1.0`,
    );
    await execa("gzip", ["--keep", file("two.tar")]);
    for (const [source, name] of [
      [layout.folder, "multi/folder"],
      [file("two.tar"), "multi/archive"],
      [file("two.tar.gz"), "multi/packed"],
    ] as const) {
      const pushed = await push(source, name);
      expect(pushed.reference).toBe(`${pod.host}/${name}:1.0`);
      expect(pushed.digest).toBe(layout.digest);
      expect(await digestOf(`${name}:1.0`)).toBe(layout.digest);
    }
    for (const architecture of ["amd64", "arm64"]) {
      const copied = skopeo(
        "copy",
        `--override-arch=${architecture}`,
        ...source(),
        `docker://${pod.host}/multi/archive:1.0`,
        `dir:${file(architecture)}`,
      );
      await expect(copied).resolves.toBeDefined();
    }
  });

  test("a docker-archive: its layers compressed, its configuration untouched, the same digest again", async () => {
    const { folder: layout } = await ociImage(3 * 2 ** 20);
    await skopeo("copy", `oci:${layout}:1.0`, `docker-archive:${file("saved.tar")}:other.example.com/team/saved:2.0`);
    const pushed = await push(file("saved.tar"));
    expect(pushed.reference).toBe(`${pod.host}/team/saved:2.0`);
    expect(await digestOf("team/saved:2.0")).toBe(pushed.digest);
    // The judge: skopeo's view of the image's contents, and a copy that checks every layer.
    const inside = (image: string, ...args: string[]) => skopeo("inspect", "--config", "--raw", ...args, image);
    expect(await inside(`docker://${pod.host}/team/saved:2.0`, ...LOGIN)).toBe(
      await inside(`docker-archive:${file("saved.tar")}`),
    );
    await skopeo("copy", ...source(), `docker://${pod.host}/team/saved:2.0`, `oci:${file("checked")}:x`);

    const again = await push(file("saved.tar"), "team/saved:3.0");
    expect(again).toMatchObject({ digest: pushed.digest, sentBytes: 0, blobs: { sent: 0, present: 2 } });
    const elsewhere = await push(file("saved.tar"), "team/other:1.0");
    expect(elsewhere).toMatchObject({ digest: pushed.digest, sentBytes: 0, blobs: { sent: 0, mounted: 2 } });
    await skopeo("copy", ...source(), `docker://${pod.host}/team/other:1.0`, `oci:${file("checked")}:y`);
  });

  test("a damaged archive is refused before its tag is made", async () => {
    const layout = await ociImage(64 * 1024);
    const blobs = join(layout.folder, "blobs", "sha256");
    const sizes = await Promise.all(
      (await readdir(blobs)).map(async (name) => [name, await readFile(join(blobs, name))] as const),
    );
    const [layer = "", bytes = Buffer.alloc(0)] = sizes.find(([, { length }]) => length > 60_000) ?? [];
    bytes[1000] = (bytes[1000] ?? 0) ^ 1;
    await writeFile(join(blobs, layer), bytes);
    const { exitCode, stderr } = await cluster.run(["push", layout.folder, "damaged"]);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /homecloud: the blob sha256:\w+ has not the content that its digest stands for: the archive is damaged/,
    );
    await expect(digestOf("damaged:1.0")).rejects.toThrow();
  });

  test("a file that is no image, and one that is not there, in a sentence", async () => {
    await writeFile(file("text.tar"), "this is no archive, whatever its name says\n".repeat(100));
    await writeFile(file("empty.tar"), tar([{ path: "readme", content: "nothing" }]));
    expect(await cluster.run(["push", file("text.tar"), "x:1"])).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/text.tar is no whole tar archive/),
    });
    expect(await cluster.run(["push", file("empty.tar"), "x:1"])).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/neither manifest.json .* nor oci-layout/),
    });
    expect(await cluster.run(["push", file("none.tar"), "x:1"])).toMatchObject({
      exitCode: 4,
      stderr: expect.stringMatching(/there is no file/),
    });
  });
});

const source = () => ["--src-tls-verify=false", "--src-creds", `${WRITER.name}:${WRITER.password}`];

describe("what is pulled is what is there", () => {
  test("all platforms into an archive, and from there to another repository, with the same digests", async () => {
    const layout = await ociIndex();
    await push(layout.folder, "multi/pull:1");
    const pulled = await pull("multi/pull:1", "--all-platforms", "-o", file("all.tar"));
    expect(pulled.digest).toBe(layout.digest);
    expect(await rawDigest(`oci-archive:${file("all.tar")}`)).toBe(layout.digest);
    await push(file("all.tar"), "multi/back:1");
    expect(await digestOf("multi/back:1")).toBe(layout.digest);
  });

  test("one platform, as an archive that reads as Docker's too", async () => {
    await push((await ociIndex()).folder, "multi/one:1");
    for (const architecture of ["amd64", "arm64"]) {
      const archive = file(`one-${architecture}.tar`);
      const pulled = await pull("multi/one:1", "--platform", `linux/${architecture}`, "-o", archive);
      expect(await rawDigest(`oci-archive:${archive}`)).toBe(pulled.digest);
      const config = JSON.parse(await skopeo("inspect", "--config", `docker-archive:${archive}`)) as {
        architecture: string;
      };
      expect(config.architecture).toBe(architecture);
      await skopeo("copy", `docker-archive:${archive}`, `dir:${file(`from-${architecture}`)}`);
    }
    const other = await cluster.run(["pull", "multi/one:1", "--platform", "linux/s390x", "-o", file("none.tar")]);
    expect(other).toMatchObject({
      exitCode: 4,
      stderr: expect.stringContaining("there are: linux/amd64, linux/arm64"),
    });
  });

  test("an image that is not there, and a damaged layer, leave no file", async () => {
    const missing = await cluster.run(["pull", "team/none:1", "-o", file("none.tar")]);
    expect(missing).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("there is no team/none:1 in") });

    const digest = await new RegistryClient(pod.url, WRITER).pushImage("team/rotten", "1", 100_000);
    const { layers } = JSON.parse(
      await skopeo("inspect", "--raw", ...LOGIN, `docker://${pod.host}/team/rotten@${digest}`),
    ) as { layers: [{ digest: string }] };
    const hex = layers[0].digest.slice("sha256:".length);
    const data = `${pod.layout.volume}/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`;
    const bytes = await readFile(data);
    bytes[5000] = (bytes[5000] ?? 0) ^ 1;
    await writeFile(data, bytes);
    const damaged = await cluster.run(["pull", "team/rotten:1", "-o", file("rotten.tar")]);
    expect(damaged).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/blob sha256:\w+ is damaged/) });
    expect((await readdir(folder)).filter((name) => /rotten|none/.test(name))).toEqual([]);
  });
});

describe("connections that break", () => {
  /** Bytes that pass before the first connections are cut. */
  let cutter: Cutter;
  let away: ClusterStandIn;

  beforeAll(async () => {
    cutter = await Cutter.start(pod.layout.gatePort);
    away = await ClusterStandIn.start({ url: `http://127.0.0.1:${cutter.port}`, host: pod.host, user: WRITER });
  });
  afterAll(async () => {
    await away?.stop();
    cutter?.stop();
  });

  test("a push goes on where it broke, three times", async () => {
    const { folder: layout, digest } = await ociImage(40 * 2 ** 20);
    cutter.cut(3, 10 * 2 ** 20);
    const { exitCode, stderr } = await away.run(["push", layout, "cut/push"]);
    expect(exitCode, stderr).toBe(0);
    expect(stderr).toContain("trying again in 1 s");
    expect(await digestOf("cut/push:1.0")).toBe(digest);
    expect(cutter.left, "all cuts were made").toBe(0);
    expect(cutter.fromClient, "what had arrived was not sent again").toBeLessThan(60 * 2 ** 20);
  });

  test("a pull goes on where it broke, three times", async () => {
    const { folder: layout, digest } = await ociImage(40 * 2 ** 20);
    await push(layout, "cut/pull");
    cutter.cut(3, 10 * 2 ** 20);
    const { exitCode, stderr } = await away.run(["pull", "cut/pull:1.0", "-o", file("cut.tar")]);
    expect(exitCode, stderr).toBe(0);
    expect(await rawDigest(`oci-archive:${file("cut.tar")}`)).toBe(digest);
    await skopeo("copy", `oci-archive:${file("cut.tar")}`, `dir:${file("cut")}`);
    expect(cutter.left).toBe(0);
    expect(cutter.fromServer).toBeLessThan(60 * 2 ** 20);
  });

  test("a pull that is interrupted leaves no file", async () => {
    await push((await ociImage(40 * 2 ** 20)).folder, "cut/half");
    cutter.cut(1000, 10 * 2 ** 20);
    const args = ["pull", "cut/half:1.0", "-o", file("interrupted.tar")];
    const child = execa(HOMECLOUD, args, { env: away.env, extendEnv: false, reject: false });
    const hasPart = (names: string[]) => names.some((name) => name.endsWith(".part"));
    expect(await untilThere(() => readdir(folder), hasPart)).toBe(true);
    child.kill("SIGINT");
    expect((await child).exitCode).toBe(130);
    expect((await readdir(folder)).filter((name) => name.includes("interrupted"))).toEqual([]);
    cutter.cut(0, 0);
  });

  test("a push that is interrupted makes no tag, leaves no file, and the next one sends only what is missing", async () => {
    const { folder: layout, digest } = await ociImage(40 * 2 ** 20);
    cutter.cut(1000, 10 * 2 ** 20);
    const child = execa(HOMECLOUD, ["push", layout, "cut/interrupted"], {
      env: away.env,
      extendEnv: false,
      reject: false,
    });
    // The layer cannot end before it was cut three times, and waited for; its small configuration beside it can.
    const { config } = JSON.parse(await readFile(join(layout, "blobs/sha256", digest.slice("sha256:".length)), "utf8"));
    const asked = new RegistryClient(pod.url, WRITER);
    const status = async () =>
      (await asked.request(`/v2/cut/interrupted/blobs/${config.digest}`, { method: "HEAD" })).status;
    expect(await untilThere(status, (found) => found === 200)).toBe(true);
    child.kill("SIGTERM");
    expect((await child).exitCode).toBe(143);
    await expect(digestOf("cut/interrupted:1.0")).rejects.toThrow();
    expect(await readdir(join(away.home, "tmp"))).toEqual([]);
    cutter.cut(0, 0);
    const again = await push(layout, "cut/interrupted");
    expect(again.blobs.present, "the small configuration had arrived").toBe(1);
    expect(await digestOf("cut/interrupted:1.0")).toBe(digest);
  });
});

test("a layer that is refused for good ends the others, which would take minutes", async () => {
  const { folder: layout } = await ociIndex();
  const { tree } = await openArchive(layout, { scratch: folder, tell: () => {}, onLayer: () => () => {} });
  const endless: Blob = {
    digest: sha256("endless"),
    size: 2 ** 40,
    open: () =>
      Readable.from(
        (async function* () {
          for (;;) {
            yield Buffer.alloc(1000);
            await sleep(20);
          }
        })(),
      ),
  };
  const damaged: Blob = { digest: sha256("damaged"), size: 5, open: () => Readable.from([Buffer.from("other")]) };
  const login = { user: WRITER.name, password: WRITER.password, ca: undefined };
  const registry = new CliClient({ url: pod.url, host: pod.host, namespace: "registry", stack: undefined, ...login });
  const retries = new Retries();
  const pushing = pushImage(registry, { ...tree, blobs: [endless, damaged] }, "ended", "1", {
    retries,
    bars: makeBars(true),
  });
  await expect(pushing).rejects.toThrow(/the archive is damaged/);
  // The endless upload would keep it for ever.
  await registry.close();
});

test("by a detour past the ingress, which ends TLS for the gate: the same image there and back", async () => {
  const { folder: layout, digest } = await ociIndex();
  const url = "https://registry.invalid";
  const login = { user: WRITER.name, password: WRITER.password, ca: undefined };
  const access = { url, host: "registry.invalid", namespace: "registry", stack: undefined, ...login };
  const registry = new CliClient(access, { port: pod.layout.gatePort });
  const [retries, bars] = [new Retries(), makeBars(true)];
  const opened = await openArchive(layout, { scratch: folder, tell: () => {}, onLayer: () => () => {} });
  const pushed = await pushImage(registry, opened.tree, "detour", "1", { retries, bars });
  expect(pushed.digest).toBe(digest);
  expect(await digestOf("detour:1")).toBe(digest);
  const remote = await readRemote(registry, retries, "detour", "1");
  await writeArchive(registry, remote, createWriteStream(file("detour.tar")), {
    retries,
    bars,
    name: undefined,
    tag: "1",
  });
  await registry.close();
  expect(await rawDigest(`oci-archive:${file("detour.tar")}`)).toBe(digest);
});

/** What the registry says to an upload that begins now. */
const uploadStatus = (of: Pod) => async () => {
  const { answer } = await new RegistryClient(of.url, WRITER).beginUpload("probe");
  return answer.status;
};

async function untilThere<T>(look: () => Promise<T>, good: (found: T) => boolean): Promise<boolean> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (good(await look())) return true;
    await sleep(50);
  }
  return false;
}

test("while garbage is collected a push waits, says so, and then works", async () => {
  const { folder: layout, digest } = await ociImage();
  const holder = pod.holdCollectorLock();
  expect(await untilThere(uploadStatus(pod), (status) => status === 503)).toBe(true);
  const pushing = cluster.run(["push", layout, "patient"]);
  expect(
    await untilThere(
      () => pod.logs(),
      (log) => /"path":"\/v2\/patient\/[^\n]*"status":503/.test(log),
    ),
  ).toBe(true);
  holder.release();
  const { exitCode, stderr } = await pushing;
  expect(exitCode, stderr).toBe(0);
  expect(stderr).toMatch(/garbage.*trying again in 30 s/);
  expect(await digestOf("patient:1.0")).toBe(digest);
});

test("500 MB pushed and pulled", async () => {
  const layer = file("layer");
  await writeFile(layer, randomBytes(500_000_000));
  const hash = createHash("sha256");
  const start = performance.now();
  await pipeline(createReadStream(layer), hash);
  const hashed = performance.now() - start;
  const diffId = `sha256:${hash.digest("hex")}`;
  const config = JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [diffId] } });
  await writeFile(file("config.json"), config);
  await writeFile(
    file("manifest.json"),
    JSON.stringify([{ Config: "config.json", RepoTags: ["big:1"], Layers: ["layer"] }]),
  );
  await execa("tar", ["-cf", file("big.tar"), "-C", folder, "manifest.json", "config.json", "layer"]);
  const [begun, pushed] = [performance.now(), await push(file("big.tar"))];
  const between = performance.now();
  const pulled = await pull("big:1", "-o", file("big-back.tar"));
  const end = performance.now();
  console.log(
    `500 MB: pushed in ${((between - begun) / 1000).toFixed(1)} s, compression among it; pulled in ${((end - between) / 1000).toFixed(1)} s`,
  );
  expect(pulled.digest).toBe(pushed.digest);
  // What this machine needs to read and hash them is the yardstick: 30 s where that takes one.
  expect(between - begun).toBeLessThan(30 * hashed);
  expect(end - between).toBeLessThan(30 * hashed);
});

describe("a full registry", () => {
  let small: Pod;
  let full: ClusterStandIn;

  beforeAll(async () => {
    small = await Pod.start(await podTools(tools), { quota: { limitBytes: 24 * 2 ** 20, reserveBytes: 8 * 2 ** 20 } });
    full = await ClusterStandIn.start({ url: small.url, host: small.host, user: WRITER });
  });
  afterAll(async () => {
    await full?.stop();
    await small?.stop();
  });

  test("refuses in its own words, with what to do, and a pull still works", async () => {
    const first = await ociImage(20 * 2 ** 20);
    expect((await full.run(["push", first.folder, "first"])).exitCode).toBe(0);
    expect(await untilThere(uploadStatus(small), (status) => status === 403)).toBe(true);
    const { exitCode, stderr } = await full.run(["push", (await ociImage()).folder, "second"]);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^homecloud: .*full.*\(DENIED\)$/m);
    expect(stderr).not.toContain("trying again");
    expect((await full.run(["pull", "first:1.0", "-o", file("first.tar")])).exitCode).toBe(0);
  });
});

/** A connection that breaks: passes bytes on to a port, and cuts what it passes after some. */
class Cutter {
  readonly port: number;
  /** Cuts that are still to be made. */
  left = 0;
  fromClient = 0;
  fromServer = 0;
  private after = 0;
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
    this.port = (server.address() as { port: number }).port;
  }

  static async start(target: number): Promise<Cutter> {
    let cutter: Cutter | undefined;
    const server = createServer((client) => cutter?.pass(client, createConnection(target, "127.0.0.1")));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    cutter = new Cutter(server);
    return cutter;
  }

  /** The next so many connections that carry more than so many bytes are cut there. */
  cut(times: number, after: number): void {
    Object.assign(this, { left: times, after, fromClient: 0, fromServer: 0 });
  }

  private pass(client: ReturnType<typeof createConnection>, server: ReturnType<typeof createConnection>): void {
    let passed = 0;
    const end = () => {
      client.destroy();
      server.destroy();
    };
    const count = (bytes: number) => {
      passed += bytes;
      if (this.left === 0 || passed < this.after) return;
      this.left--;
      end();
    };
    client.on("data", (chunk) => {
      this.fromClient += chunk.length;
      count(chunk.length);
    });
    server.on("data", (chunk) => {
      this.fromServer += chunk.length;
      count(chunk.length);
    });
    client.pipe(server);
    server.pipe(client);
    for (const socket of [client, server]) socket.on("error", end).on("close", end);
  }

  stop(): void {
    this.server.close();
  }
}
