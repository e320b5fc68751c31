import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Tools } from "../../lab/lab.ts";
import { RegistryClient, sha256 } from "../integration/client.ts";
import { ClusterStandIn } from "../integration/cluster-stand-in.ts";
import { Pod, WRITER } from "../integration/pod.ts";
import { podTools, testTools } from "../tools.ts";
import { DockerEngine } from "./docker-engine.ts";
import { ociImage } from "./images.ts";

/** `push`, `pull` and `login` with a real Docker: Debian's client and daemon. It needs root, and no cluster. */
let tools: Tools;
let pod: Pod;
let cluster: ClusterStandIn;
let docker: DockerEngine;
let env: Record<string, string>;

beforeAll(async () => {
  tools = await testTools();
  pod = await Pod.start(await podTools(tools));
  cluster = await ClusterStandIn.start({ url: pod.url, host: pod.host, user: WRITER });
  docker = await DockerEngine.start();
  env = { ...docker.env, PATH: `${cluster.home}/.local/bin:${docker.env.PATH}` };
});
afterAll(async () => {
  await docker?.stop();
  await cluster?.stop();
  await pod?.stop();
});

const homecloud = (...args: string[]) => cluster.run(args, { env });
const run = (...args: string[]) => cluster.program("docker", args, { env });

/** An image that Docker has, and nobody else. Returns its ID. */
async function built(name: string): Promise<string> {
  const { folder } = await ociImage(2 * 2 ** 20);
  const archive = join(cluster.home, "built.tar");
  await execa("rm", ["-f", archive]);
  await execa(tools.bin("skopeo"), ["copy", `oci:${folder}:1.0`, `docker-archive:${archive}:${name}`]);
  expect((await run("load", "-i", archive)).exitCode).toBe(0);
  return await idOf(name);
}

const idOf = async (name: string) => (await run("image", "inspect", "--format", "{{.Id}}", name)).stdout;

describe("Docker's images", () => {
  test("are pushed by their names, and come back as the same images", async () => {
    const id = await built("team/app:1.0");
    const pushed = await homecloud("push", "team/app:1.0");
    expect(pushed.exitCode, pushed.stderr).toBe(0);
    expect(pushed.stderr).toContain("reading team/app:1.0 from docker");
    expect((await run("rmi", "team/app:1.0")).exitCode).toBe(0);

    const pulled = await homecloud("pull", "team/app:1.0");
    expect(pulled.exitCode, pulled.stderr).toBe(0);
    expect(pulled.stdout).toContain(`Loaded image: ${pod.host}/team/app:1.0`);
    expect(await idOf(`${pod.host}/team/app:1.0`)).toBe(id);
  });

  test("a second push of the same layers compresses and sends nothing", async () => {
    await built("team/again:1");
    await homecloud("push", "team/again:1");
    const { stdout, stderr } = await homecloud("push", "team/again:1", "team/again:2", "--json");
    expect(JSON.parse(stdout), stderr).toMatchObject({ sentBytes: 0, blobs: { sent: 0, present: 2 } });
  });

  test("an image that nobody has: both engines, in their own words", async () => {
    const { exitCode, stderr } = await homecloud("push", "team/none:1");
    expect(exitCode).toBe(4);
    expect(stderr).toMatch(/called team\/none:1:\n {2}docker: .*No such image.*\n {2}podman: is not installed/);
  });

  test("a pull whose layer is damaged leaves no image", async () => {
    const digest = await new RegistryClient(pod.url, WRITER).pushImage("team/rotten", "1", 100_000);
    const raw = `${pod.layout.volume}/docker/registry/v2/blobs/sha256`;
    const path = (blob: string) => `${raw}/${blob.slice(7, 9)}/${blob.slice(7)}/data`;
    const { layers } = JSON.parse(await readFile(path(digest), "utf8")) as { layers: [{ digest: string }] };
    const bytes = await readFile(path(layers[0].digest));
    bytes[5000] = (bytes[5000] ?? 0) ^ 1;
    await writeFile(path(layers[0].digest), bytes);
    const { exitCode, stderr } = await homecloud("pull", "team/rotten:1");
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/blob sha256:\w+ is damaged/);
    expect((await run("images", "--quiet", `${pod.host}/team/rotten`)).stdout).toBe("");
  });
});

describe("after homecloud login", () => {
  test("docker push and docker pull log in by themselves, and no password is in config.json", async () => {
    const id = await built(`${pod.host}/team/docker:1`);
    expect((await run("push", `${pod.host}/team/docker:1`)).stderr).toMatch(
      /no basic auth|unauthorized|authentication/,
    );
    const login = await homecloud("login");
    expect(login.exitCode, login.stdout + login.stderr).toBe(0);
    const pushed = await run("push", `${pod.host}/team/docker:1`);
    expect(pushed.exitCode, pushed.stderr).toBe(0);
    await run("rmi", `${pod.host}/team/docker:1`);
    expect((await run("pull", `${pod.host}/team/docker:1`)).exitCode).toBe(0);
    expect(await idOf(`${pod.host}/team/docker:1`)).toBe(id);
    const config = await readFile(join(cluster.home, ".docker", "config.json"), "utf8");
    expect(JSON.parse(config)).toEqual({ credHelpers: { [pod.host]: "homecloud" } });
  });

  test("what docker push has pushed is what homecloud pull brings", async () => {
    const archive = join(cluster.home, "docker.tar");
    expect((await homecloud("pull", "team/docker:1", "-o", archive)).exitCode).toBe(0);
    const inspect = (...args: string[]) =>
      execa(tools.bin("skopeo"), ["inspect", "--raw", ...args], { stripFinalNewline: false });
    const creds = ["--tls-verify=false", "--creds", `${WRITER.name}:${WRITER.password}`];
    const there = await inspect(...creds, `docker://${pod.host}/team/docker:1`);
    expect(sha256((await inspect(`oci-archive:${archive}`)).stdout)).toBe(sha256(there.stdout));
  });

  test("docker login with another password is refused, docker logout works, and both leave the file without one", async () => {
    const refused = await cluster.program("docker", ["login", "-u", WRITER.name, "--password-stdin", pod.host], {
      env,
      input: "another secret",
    });
    expect(refused.exitCode).not.toBe(0);
    const again = await cluster.program("docker", ["login", "-u", WRITER.name, "--password-stdin", pod.host], {
      env,
      input: WRITER.password,
    });
    expect(again.exitCode, again.stderr).toBe(0);
    expect((await run("logout", pod.host)).exitCode).toBe(0);
    const config = await readFile(join(cluster.home, ".docker", "config.json"), "utf8");
    expect(config).not.toContain(Buffer.from(`${WRITER.name}:${WRITER.password}`).toString("base64"));
    expect((await homecloud("logout")).exitCode).toBe(0);
    expect((await run("pull", `${pod.host}/team/docker:1`)).exitCode).not.toBe(0);
  });
});
