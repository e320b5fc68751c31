import { writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Usage } from "../../cli/registry/usage.ts";
import { podTools, testTools } from "../tools.ts";
import { OCI_MANIFEST, RegistryClient, sha256 } from "./client.ts";
import { ClusterStandIn, type Ended } from "./cluster-stand-in.ts";
import { Pod, WRITER } from "./pod.ts";

const OCI_INDEX = "application/vnd.oci.image.index.v1+json";

let pod: Pod;
let client: RegistryClient;
let cluster: ClusterStandIn;

beforeAll(async () => {
  pod = await Pod.start(await podTools(await testTools()));
  client = new RegistryClient(pod.url, WRITER);
  cluster = await ClusterStandIn.start({ url: pod.url, host: pod.host, user: WRITER });
  await client.pushImage("team/app", "1.0");
  await begunPush();
  await brokenIndex();
  await brokenManifest();
});
afterAll(async () => {
  await cluster?.stop();
  await pod?.stop();
});

/** A first push of several platforms that broke off: an image by its digest, and no index yet that has a tag. */
async function begunPush(): Promise<void> {
  const content = Buffer.from("{}");
  const config = {
    ...{ mediaType: "application/vnd.oci.image.config.v1+json", size: content.length },
    digest: await client.pushBlob("team/begun", content),
  };
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers: [] });
  expect((await client.putManifest("team/begun", sha256(manifest), manifest)).status).toBe(201);
  expect((await client.request("/v2/team/begun/tags/list")).status).toBe(404);
}

/** An index whose image was deleted by its digest. */
async function brokenIndex(): Promise<void> {
  const digest = await client.pushImage("team/broken", "part");
  const size = (await (await client.request(`/v2/team/broken/manifests/${digest}`, accept)).text()).length;
  const manifests = [{ mediaType: OCI_MANIFEST, digest, size, platform: { os: "linux", architecture: "amd64" } }];
  const index = JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests });
  expect((await client.putManifest("team/broken", "cut", index, OCI_INDEX)).status).toBe(201);
  expect((await client.deleteManifest("team/broken", digest)).status).toBe(202);
}

const accept = { headers: { accept: OCI_MANIFEST } };

/** A manifest that a power cut has emptied. */
async function brokenManifest(): Promise<void> {
  const [, hex = ""] = (await client.pushImage("team/broken", "empty")).split(":");
  await writeFile(`${pod.layout.volume}/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`, "");
}

const json = <T>({ stdout }: Ended): T => JSON.parse(stdout) as T;

describe("what cannot be read is said in its row, and the rest is shown", () => {
  test("usage", async () => {
    const { exitCode, stdout, stderr } = await cluster.run(["usage"]);
    expect(exitCode, stderr).toBe(0);
    expect(stdout).toMatch(/^team\/app +1 /m);
    expect(stdout).toMatch(/^team\/broken:cut cannot be read: a part of it is missing/m);
    expect(stdout).toMatch(/^team\/broken:empty cannot be read: /m);
    const { repositories } = json<Usage>(await cluster.run(["usage", "--json"]));
    expect(repositories.map(({ repository }) => repository)).toEqual(["team/app", "team/broken"]);
    expect(repositories[1]?.tags).toContainEqual(
      expect.objectContaining({ tag: "cut", problem: expect.stringContaining("missing") }),
    );
  });

  test("usage REPO", async () => {
    const { exitCode, stdout } = await cluster.run(["usage", "team/broken"]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^cut +- +cannot be read: a part of it is missing/m);
  });

  test("ls REPO", async () => {
    const { exitCode, stdout } = await cluster.run(["ls", "team/broken"]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^cut +- +- +cannot be read: a part of it is missing/m);
    expect(stdout).toMatch(/^empty +- +- +cannot be read: /m);
  });
});

test("ls REPO: one whose first push broke off has no tag, one that is not there is not found", async () => {
  expect(await cluster.run(["ls", "team/begun"])).toMatchObject({
    exitCode: 0,
    stdout: "team/begun has no tag",
  });
  expect(await cluster.run(["ls", "team/none"])).toMatchObject({
    exitCode: 4,
    stderr: expect.stringContaining("there is no repository team/none"),
  });
});

describe("rm", () => {
  /** The gate, where the second tag that is deleted finds a collection begun. */
  let gate: Server;
  let laptop: ClusterStandIn;
  let holder: ReturnType<Pod["holdCollectorLock"]> | undefined;
  const release = () => {
    holder?.release();
    holder = undefined;
  };

  beforeAll(async () => {
    let deletes = 0;
    gate = createServer(async ({ method = "GET", url = "/", headers }, response) => {
      if (method === "DELETE" && ++deletes === 2) {
        holder = pod.holdCollectorLock();
        while (await client.takesWrites()) await sleep(100);
      }
      const { authorization = "", accept = "" } = headers;
      const answer = await fetch(new URL(url, pod.url), { method, headers: { authorization, accept } });
      const kept = [...answer.headers].filter(([name]) =>
        /^(content-type|docker-content-digest|retry-after)$/.test(name),
      );
      response.writeHead(answer.status, Object.fromEntries(kept)).end(Buffer.from(await answer.arrayBuffer()));
    });
    await new Promise<void>((done) => gate.listen(0, "127.0.0.1", done));
    const { port } = gate.address() as { port: number };
    laptop = await ClusterStandIn.start({
      ...{ url: `http://127.0.0.1:${port}`, host: `127.0.0.1:${port}` },
      user: WRITER,
    });
  });
  afterAll(async () => {
    release();
    await laptop?.stop();
    gate?.close();
  });

  test("cut by a collection: says what it has deleted, and that the rest waits", async () => {
    for (const tag of ["one", "two", "three"]) await client.pushImage("team/rm", tag);
    const tags = ["team/rm:one", "team/rm:one", "team/rm:two", "team/rm:three"];
    const { exitCode, stdout, stderr } = await laptop.run(["rm", "--yes", "--json", ...tags]);
    expect(json({ exitCode, stdout, stderr })).toEqual({ deleted: ["team/rm:one"] });
    expect(exitCode).toBe(1);
    expect(stderr).toBe(
      "homecloud: team/rm:two: writes are held by a collection, backup or restore: try again when it has ended (homecloud status)",
    );
  });

  test("of one image given twice deletes it once", async () => {
    release();
    while (!(await client.takesWrites())) await sleep(100);
    const { exitCode, stdout, stderr } = await laptop.run(["rm", "--yes", "team/rm:two", "team/rm:two"]);
    expect(exitCode, stderr).toBe(0);
    expect(stdout).toBe("deleted team/rm:two");
  });
});
