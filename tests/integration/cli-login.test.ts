import {
  chmod,
  copyFile,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RegistryClient as CliClient } from "../../cli/registry/client.ts";
import type { Tools } from "../../lab/lab.ts";
import { ociImage } from "../e2e/images.ts";
import { podTools, testTools } from "../tools.ts";
import { RegistryClient } from "./client.ts";
import { ClusterStandIn } from "./cluster-stand-in.ts";
import { Pod, WRITER } from "./pod.ts";

let tools: Tools;
let pod: Pod;
let cluster: ClusterStandIn;
let config: string;
let auth: string;
let env: Record<string, string>;

beforeAll(async () => {
  tools = await testTools();
  pod = await Pod.start(await podTools(tools));
  cluster = await ClusterStandIn.start({ url: pod.url, host: pod.host, user: WRITER });
  config = join(cluster.home, ".docker", "config.json");
  auth = join(cluster.home, "auth.json");
  env = { PATH: `${cluster.home}/.local/bin:${process.env.PATH}`, REGISTRY_AUTH_FILE: auth };
});
afterAll(async () => {
  await cluster?.stop();
  await pod?.stop();
});

const skopeo = (...args: string[]) => cluster.program(tools.bin("skopeo"), args, { env });
const helper = (action: string, input: string) =>
  cluster.program("docker-credential-homecloud", [action], { env, input });
const login = (...args: string[]) => cluster.run(["login", ...args], { env });
const logout = (...args: string[]) => cluster.run(["logout", ...args], { env });

describe("a login", () => {
  test("without it skopeo is refused", async () => {
    await new RegistryClient(pod.url, WRITER).pushImage("team/app", "1.0");
    const { exitCode, stderr } = await skopeo(
      "inspect",
      "--raw",
      "--tls-verify=false",
      `docker://${pod.host}/team/app:1.0`,
    );
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(/unauthorized|authentication required|401/i);
  });

  test("changes only what it must, and says that it works", async () => {
    await mkdir(join(cluster.home, ".docker"), { recursive: true });
    const before = `{\n    "psFormat": "table",\n    "credHelpers": {\n        "other.example.com": "other"\n    },\n    "auths": {\n        "https://index.docker.io/v1/": {}\n    }\n}\n`;
    await writeFile(config, before);
    await chmod(config, 0o640);
    const { exitCode, stdout, stderr } = await login();
    expect(exitCode, stderr).toBe(0);
    expect(stdout).toContain(`logged in to ${pod.host} as ${WRITER.name}`);
    expect(await readFile(config, "utf8")).toBe(
      before.replace(`"other"\n`, `"other",\n        "${pod.host}": "homecloud"\n`),
    );
    expect((await stat(config)).mode & 0o777).toBe(0o640);
    expect(JSON.parse(await readFile(auth, "utf8"))).toEqual({ credHelpers: { [pod.host]: "homecloud" } });
    expect((await stat(auth)).mode & 0o777).toBe(0o600);
    expect((await lstat(join(cluster.home, ".local/bin/docker-credential-homecloud"))).isSymbolicLink()).toBe(true);
  });

  test("leaves no password in any file", async () => {
    const files = [config, auth, join(cluster.home, ".config/homecloud/logins.json")];
    for (const file of files) {
      const text = await readFile(file, "utf8");
      expect(text).not.toContain(WRITER.password);
      expect(text).not.toContain(Buffer.from(`${WRITER.name}:${WRITER.password}`).toString("base64"));
    }
  });

  test("lets skopeo push and pull by itself", async () => {
    const { folder, digest } = await ociImage();
    const pushed = await skopeo(
      "copy",
      "--preserve-digests",
      "--dest-tls-verify=false",
      `oci:${folder}:1.0`,
      `docker://${pod.host}/team/skopeo:1.0`,
    );
    expect(pushed.exitCode, pushed.stderr).toBe(0);
    const { stdout, stderr } = await skopeo("inspect", "--tls-verify=false", `docker://${pod.host}/team/skopeo:1.0`);
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toMatchObject({ Digest: digest });
  });

  test("again changes nothing", async () => {
    const texts = () =>
      Promise.all(
        [config, auth, join(cluster.home, ".config/homecloud/logins.json")].map((file) => readFile(file, "utf8")),
      );
    const before = await texts();
    expect((await login("--json")).exitCode).toBe(0);
    expect(await texts()).toEqual(before);
  });
});

describe("docker-credential-homecloud", () => {
  test("get: the login of the cluster, for a host and for a URL", async () => {
    for (const server of [pod.host, `http://${pod.host}`, `https://${pod.host}/v2/\n`]) {
      const { stdout, exitCode } = await helper("get", server);
      expect(exitCode).toBe(0);
      expect(JSON.parse(stdout)).toEqual({ ServerURL: server.trim(), Username: WRITER.name, Secret: WRITER.password });
    }
  });

  test("get: what clients understand as none, for every other server", async () => {
    expect(await helper("get", "https://index.docker.io/v1/")).toEqual({
      stdout: "credentials not found in native keychain",
      stderr: "",
      exitCode: 1,
    });
  });

  test("list: hosts and users, no password", async () => {
    expect(JSON.parse((await helper("list", "")).stdout)).toEqual({ [pod.host]: WRITER.name });
  });

  test("store: the login that is known, and no other", async () => {
    const known = { ServerURL: pod.host, Username: WRITER.name, Secret: WRITER.password };
    expect(await helper("store", JSON.stringify(known))).toEqual({ stdout: "", stderr: "", exitCode: 0 });
    const other = await helper("store", JSON.stringify({ ...known, Secret: "another secret" }));
    expect(other).toMatchObject({ exitCode: 1, stdout: expect.stringContaining("homecloud logout") });
    expect(other.stdout).not.toContain("another secret");
    const elsewhere = await helper("store", JSON.stringify({ ...known, ServerURL: "ghcr.io" }));
    expect(elsewhere).toMatchObject({ exitCode: 1, stdout: expect.stringContaining("not ghcr.io") });
  });

  test("a cluster that is away is said in a sentence, on the protocol's stream", async () => {
    const gone = JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "home",
      clusters: [{ name: "home", cluster: { server: "http://127.0.0.1:9", "insecure-skip-tls-verify": true } }],
      users: [{ name: "me", user: {} }],
      contexts: [{ name: "home", context: { cluster: "home", user: "me" } }],
    });
    const before = await readFile(join(cluster.home, "kubeconfig"), "utf8");
    await writeFile(join(cluster.home, "kubeconfig"), gone);
    const { exitCode, stdout } = await helper("get", pod.host);
    await writeFile(join(cluster.home, "kubeconfig"), before);
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/^the cluster at http:\/\/127.0.0.1:9 \(context home\) does not answer/);
  });
});

describe("the password of one cluster never goes to another's registry", () => {
  let other: ClusterStandIn;

  beforeAll(async () => {
    other = await ClusterStandIn.start({
      ...{ url: "http://127.0.0.1:9", host: "127.0.0.1:9" },
      user: { name: "other", password: "of another cluster" },
    });
  });
  afterAll(() => other?.stop());

  test("a login made by ~/.kube/config stays with it, whatever $KUBECONFIG is when Docker calls", async () => {
    await mkdir(join(cluster.home, ".kube"));
    await copyFile(join(cluster.home, "kubeconfig"), join(cluster.home, ".kube", "config"));
    await cluster.run(["login"], { env: { ...env, KUBECONFIG: "" } });
    const { stdout } = await cluster.program("docker-credential-homecloud", ["get"], {
      env: { ...env, KUBECONFIG: join(other.home, "kubeconfig") },
      input: pod.host,
    });
    await login();
    expect(JSON.parse(stdout)).toMatchObject({ Username: WRITER.name, Secret: WRITER.password });
  });

  test.each([
    ["get", () => pod.host],
    ["store", () => JSON.stringify({ ServerURL: pod.host, Username: "other", Secret: "of another cluster" })],
  ])("%s: a kubeconfig whose context leads to another cluster by now", async (action, input) => {
    const file = join(cluster.home, "kubeconfig");
    const before = await readFile(file, "utf8");
    await copyFile(join(other.home, "kubeconfig"), file);
    const { exitCode, stdout } = await helper(action, input());
    await writeFile(file, before);
    expect(exitCode).toBe(1);
    expect(stdout).toContain(`has the registry 127.0.0.1:9, not ${pod.host}`);
    expect(stdout).not.toContain("of another cluster");
  });

  test.each(["constructor", "__proto__"])("a server named %s has no login", async (server) => {
    expect(await helper("get", server)).toMatchObject({
      exitCode: 1,
      stdout: "credentials not found in native keychain",
    });
  });
});

describe("a logout", () => {
  test("of a host without a login says so", async () => {
    expect(await logout("ghcr.io")).toMatchObject({
      exitCode: 4,
      stderr: expect.stringContaining("there is a login for"),
    });
  });

  test("undoes exactly that, without a cluster", async () => {
    const { exitCode, stderr } = await cluster.run(["logout"], { env: { ...env, KUBECONFIG: "/nonexistent" } });
    expect(exitCode, stderr).toBe(0);
    expect(await readFile(config, "utf8")).toBe(
      `{\n    "psFormat": "table",\n    "credHelpers": {\n        "other.example.com": "other"\n    },\n    "auths": {\n        "https://index.docker.io/v1/": {}\n    }\n}\n`,
    );
    await expect(stat(auth)).rejects.toThrow("ENOENT");
    await expect(readlink(join(cluster.home, ".local/bin/docker-credential-homecloud"))).rejects.toThrow("ENOENT");
    await expect(stat(join(cluster.home, ".config/homecloud/logins.json"))).rejects.toThrow("ENOENT");
    expect((await logout()).exitCode).toBe(4);
  });
});

describe("where something is in the way", () => {
  test("a config.json that is no JSON is left alone", async () => {
    await writeFile(config, "{ broken");
    const { exitCode, stderr } = await login();
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^homecloud: .*config.json is no JSON object: repair it/);
    expect(await readFile(config, "utf8")).toBe("{ broken");
  });

  test("a password of an earlier docker login is told, and a helper of before is put back", async () => {
    const before = JSON.stringify({ auths: { [pod.host]: { auth: "eDp5" } }, credHelpers: { [pod.host]: "pass" } });
    await writeFile(config, before);
    const { stdout } = await login();
    expect(stdout).toContain(`to do: an earlier password for ${pod.host} still stands in ${config}`);
    expect((await logout()).exitCode).toBe(0);
    expect(await readFile(config, "utf8")).toBe(before);
  });

  test("a registry that does not answer: set up, but told, with exit code 1", async () => {
    await pod.shutDown();
    const { exitCode, stdout, stderr } = await login();
    await pod.restart();
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/to do: the registry at .* does not answer/);
    expect(stderr).toContain("set up, but does not work yet");
  });

  test("no folder of one's own on PATH: the command that helps", async () => {
    const plain = { ...env, PATH: (env.PATH ?? "").split(":").slice(1).join(":") };
    await logout();
    const { stdout } = await cluster.run(["login"], { env: plain });
    expect(stdout).toMatch(/to do: docker-credential-homecloud is not on PATH: .*ln -s/);
  });
});

describe("with a private CA", () => {
  let secure: Pod;
  let home: ClusterStandIn;
  let ca: string;

  beforeAll(async () => {
    const folder = await mkdtemp(join(tmpdir(), "homecloud-tls-"));
    const [key, certificate] = [join(folder, "tls.key"), join(folder, "tls.crt")];
    const subject = ["-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1"];
    const files = ["-keyout", key, "-out", certificate];
    await execa(tools.bin("openssl"), [
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-days",
      "1",
      ...subject,
      ...files,
    ]);
    ca = await readFile(certificate, "utf8");
    const tls = { certificate: ca, privateKey: await readFile(key, "utf8") };
    secure = await Pod.start(await podTools(tools), { tls });
    home = await ClusterStandIn.start({ url: secure.url, host: secure.host, user: WRITER, ca });
    await rm(folder, { recursive: true });
  });
  afterAll(async () => {
    await home?.stop();
    await secure?.stop();
  });

  test("skopeo verifies the registry's certificate, Docker's trust is told as root's command, and logout takes both back", async () => {
    // That a Docker is there is all that is looked at.
    await mkdir(join(home.home, "bin"));
    await symlink("/bin/true", join(home.home, "bin", "docker"));
    const path = `${home.home}/.local/bin:${home.home}/bin:${process.env.PATH}:${dirname(tools.bin("skopeo"))}`;
    const own = { PATH: path };
    const { exitCode, stdout, stderr } = await home.run(["login"], { env: own });
    expect(exitCode, stdout + stderr).toBe(0);
    expect(stderr).toBe("");
    const certificate = join(home.home, ".config", "homecloud", "certificates", `${secure.host}.crt`);
    expect(stdout).toContain(`sudo install -D -m 644 ${certificate} /etc/docker/certs.d/${secure.host}/homecloud.crt`);
    expect(await readFile(certificate, "utf8")).toBe(ca);

    const { folder } = await ociImage();
    const reference = `docker://${secure.host}/team/secure:1`;
    const pushed = await home.program("skopeo", ["copy", `oci:${folder}:1.0`, reference], { env: own });
    expect(pushed.exitCode, pushed.stderr).toBe(0);
    const pulled = await home.run(["pull", "team/secure:1", "-o", "secure.tar"], { env: own });
    expect(pulled.exitCode, pulled.stderr).toBe(0);
    expect(pulled.stderr).not.toMatch(/warning|slower/i);
    const access = { url: secure.url, host: secure.host, namespace: "registry", stack: undefined, ca };
    const login = { user: WRITER.name, password: WRITER.password };
    const detour = { port: secure.layout.gatePort, tls: true };
    for (const [url, good] of [
      [secure.url, true],
      ["https://192.0.2.1", false],
      ["https://registry.invalid", false],
    ] as const) {
      const registry = new CliClient({ ...access, ...login, url }, detour);
      const asked = registry.tags("team/secure");
      if (good) expect(await asked).toEqual(["1"]);
      else await expect(asked, "a certificate of another name").rejects.toThrow(/ALTNAME/);
      await registry.close();
    }

    await home.run(["logout"], { env: own });
    expect(await readdir(join(home.home, ".config"), { recursive: true })).not.toContainEqual(
      expect.stringMatching(/\.crt$|\.json$/),
    );
    expect((await home.program("skopeo", ["inspect", reference], { env: own })).exitCode).not.toBe(0);
  });

  test("a ca.crt of the person's own is neither changed by login nor removed by logout", async () => {
    const certificates = join(home.home, ".config", "containers", "certs.d", secure.host);
    await mkdir(certificates, { recursive: true });
    const mine = join(certificates, "ca.crt");
    await writeFile(mine, "of another registry");
    const own = { PATH: `${process.env.PATH}:${dirname(tools.bin("skopeo"))}` };
    expect((await home.run(["login"], { env: own })).exitCode).toBe(0);
    expect(await readFile(mine, "utf8")).toBe("of another registry");
    expect(await readFile(join(certificates, "homecloud.crt"), "utf8")).toBe(ca);
    await home.run(["logout"], { env: own });
    expect(await readdir(certificates)).toEqual(["ca.crt"]);

    // One that holds this CA already is enough.
    await writeFile(mine, ca);
    await home.run(["login"], { env: own });
    expect(await readdir(certificates)).toEqual(["ca.crt"]);
    await home.run(["logout"], { env: own });
    expect(await readFile(mine, "utf8")).toBe(ca);
    await rm(certificates, { recursive: true });
  });

  test("a homecloud.crt that no login has written is left alone, and said", async () => {
    const certificates = join(home.home, ".config", "containers", "certs.d", secure.host);
    await mkdir(certificates, { recursive: true });
    await writeFile(join(certificates, "homecloud.crt"), "somebody's");
    const own = { PATH: `${process.env.PATH}:${dirname(tools.bin("skopeo"))}` };
    const { exitCode, stderr } = await home.run(["login"], { env: own });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("homecloud.crt was not written by homecloud login");
    await home.run(["logout"], { env: own });
    expect(await readFile(join(certificates, "homecloud.crt"), "utf8")).toBe("somebody's");
    await rm(certificates, { recursive: true });
  });
});
