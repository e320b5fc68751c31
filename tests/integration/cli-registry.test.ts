import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Detour, RegistryClient, RegistryError } from "../../cli/registry/client.ts";
import { readManifest } from "../../cli/transfer/pull.ts";
import { Retries } from "../../cli/transfer/retries.ts";
import { hasBlob } from "../../cli/transfer/upload.ts";
import { testTools } from "../tools.ts";
import { sha256 } from "./client.ts";
import { ClusterStandIn, HOMECLOUD } from "./cluster-stand-in.ts";

/** What the real registry never answers: others do that stand before it, and networks. The rest is in cli-images.test.ts. */
let server: Server;
let cluster: ClusterStandIn;
let registry: RegistryClient;
let url: string;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let asked: string[];

const user = { name: "homelab", password: "correct horse" };

function clientAt(url: string, detour?: Detour, ca?: string): RegistryClient {
  const login = { user: user.name, password: user.password, ca };
  return new RegistryClient({ url, host: "registry.lab", namespace: "registry", stack: undefined, ...login }, detour);
}

async function listening<S extends Server>(server: S): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as { port: number }).port;
}

beforeAll(async () => {
  const listener: RequestListener = (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    answer(request, response);
  };
  server = createServer(listener);
  url = `http://127.0.0.1:${await listening(server)}`;
  cluster = await ClusterStandIn.start({ url, host: "registry.lab", user });
});
afterAll(async () => {
  await cluster?.stop();
  server?.closeAllConnections();
  server?.close();
});

beforeEach(() => {
  asked = [];
  registry = clientAt(url);
});

const json = (response: ServerResponse, content: unknown, headers: Record<string, string> = {}) => {
  const bytes = typeof content === "string" ? content : JSON.stringify(content);
  response.writeHead(200, { "content-type": "application/json", "docker-content-digest": sha256(bytes), ...headers });
  response.end(bytes);
};

/** One tag of one repository, with this configuration. */
function image(configType: string, config: unknown, layerType = "application/vnd.oci.image.layer.v1.tar+gzip") {
  const digest = sha256("config");
  const layer = { mediaType: layerType, digest: sha256("layer"), size: 5 };
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = { schemaVersion: 2, mediaType, config: { mediaType: configType, digest, size: 6 }, layers: [layer] };
  return ({ url = "" }: IncomingMessage, response: ServerResponse) => {
    if (url.startsWith("/v2/_catalog")) json(response, { repositories: ["team/app"] });
    else if (url.includes("/tags/list")) json(response, { name: "team/app", tags: ["1"] });
    else if (url.includes("/manifests/")) json(response, manifest, { "content-type": mediaType });
    else json(response, config);
  };
}

/** Answers with less than was promised. */
function cut(response: ServerResponse): void {
  response.writeHead(200, { "content-type": "application/json", "content-length": "1000" });
  response.write('{"tags"', () => response.socket?.destroy());
}

describe("a redirect, as of a login page before the registry, is a refusal that says where it leads", () => {
  beforeEach(() => {
    answer = (_, response) => response.writeHead(302, { location: "https://sso.example.net/login?rd=1" }).end("moved");
  });

  test.each([
    ["a blob is not there", () => hasBlob(registry, "team/app", sha256("x"))],
    ["a manifest is not stored", () => registry.ask("PUT", "/v2/team/app/manifests/1", { body: Buffer.from("{}") })],
    ["a tag is not deleted", () => registry.untag("team/app", "1")],
    ["no repository is listed", () => registry.repositories()],
  ])("%s", async (_, work) => {
    await expect(work()).rejects.toThrow(
      /was answered with 302, a redirect to sso\.example\.net: something before the registry/,
    );
    expect(asked).toHaveLength(1);
  });

  test("it is not tried again", async () => {
    await expect(new Retries({ pause: 1 }).run(() => registry.tags("team/app"))).rejects.toThrow(RegistryError);
    expect(asked).toHaveLength(1);
  });
});

describe("an answer that breaks off", () => {
  test("is asked for again by a pull", async () => {
    const whole = image("application/vnd.oci.image.config.v1+json", {});
    answer = (request, response) => (asked.length < 3 ? cut(response) : whole(request, response));
    const { config } = await readManifest(registry, new Retries({ pause: 1 }), "team/app", "1");
    expect(config?.digest).toBe(sha256("config"));
    expect(asked).toHaveLength(3);
  });

  test.each([
    ["a manifest", () => registry.manifest("team/app", "1")],
    ["a configuration", () => registry.json("team/app", sha256("config"))],
    ["a list", () => registry.tags("team/app")],
  ])("%s: is a refusal in a sentence", async (_, work) => {
    answer = (_, response) => cut(response);
    await expect(work()).rejects.toThrow(RegistryError);
    await expect(work()).rejects.toThrow(/^registry\.lab\/team\/app\/\S+ broke off: /);
  });

  test("no command shows a stack for it", async () => {
    answer = (_, response) => cut(response);
    const { exitCode, stderr } = await cluster.run(["ls"]);
    expect(stderr).toMatch(/^homecloud: registry\.lab\/_catalog broke off: [^\n]+$/);
    expect(exitCode).toBe(1);
  });
});

test("an answer that is no JSON is not the registry's, and not tried again", async () => {
  answer = (_, response) => json(response, "<html>please log in</html>");
  for (const work of [() => registry.repositories(), () => registry.manifest("team/app", "1")]) {
    asked = [];
    await expect(new Retries({ pause: 1 }).run<unknown>(work)).rejects.toThrow(/the answer is no JSON/);
    expect(asked).toHaveLength(1);
  }
});

describe("the next page of a list", () => {
  const next = (link: string) => {
    answer = ({ url = "" }, response) => {
      const last = url.includes("last=");
      json(response, { repositories: [last ? "b" : "a"] }, last ? {} : { link: `<${link}>; rel="next"` });
    };
  };

  test("is asked of the registry, whatever host the first one names: the login goes nowhere else", async () => {
    const others: unknown[] = [];
    const elsewhere = createServer(({ headers }, response) => {
      others.push(headers.authorization);
      json(response, { repositories: ["theirs"] });
    });
    next(`http://127.0.0.1:${await listening(elsewhere)}/v2/_catalog?last=a&n=1000`);
    expect(await registry.repositories()).toEqual(["a", "b"]);
    expect(others).toEqual([]);
    elsewhere.close();
  });

  test("is refused where its path would be a host", async () => {
    next("https://registry.lab//other.example.net/v2/_catalog?last=a");
    await expect(registry.repositories()).rejects.toThrow(/which is no place of its own/);
  });
});

describe("what an image says of itself", () => {
  test("an artifact whose configuration is no JSON is listed beside the others", async () => {
    answer = image("application/vnd.cncf.helm.config.v1+json", "apiVersion: v2\nname: chart\n", "application/gzip");
    const { exitCode, stdout, stderr } = await cluster.run(["ls", "team/app", "--json"]);
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject([{ tag: "1", size: 11, platforms: ["unknown"] }]);
  });

  test("a terminal shows it, and does not obey it", async () => {
    const config = {
      os: "linux\nmore",
      architecture: "amd64\u001b[2J",
      created: "\u001b]0;title\u0007 2026\ndigest  sha256:false",
      config: { Entrypoint: ["sh", "-c", "one\ntwo\u009b31m\u0008\u001b[1A"] },
    };
    answer = image("application/vnd.oci.image.config.v1+json", config);
    const { stdout, stderr } = await cluster.run(["inspect", "team/app:1"]);
    expect(stderr).toBe("");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is these that are meant
    expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    expect(stdout).toMatch(/^linux more\/amd64 {2}sha256/m);
    expect(stdout).toMatch(/^ {2}made {5} ?2026 digest {1}sha256:false$/m);
    expect(stdout).toMatch(/^ {2}command {2}sh -c one two$/m);

    const inspected = await cluster.run(["inspect", "team/app:1", "--json"]);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is these that are meant
    expect(inspected.stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    const { platforms } = JSON.parse(inspected.stdout) as { platforms: { command: string[] }[] };
    expect(platforms[0]?.command, "scripts get what is there").toEqual(config.config.Entrypoint);
  });

  test("nor what the registry says when it refuses", async () => {
    answer = (_, response) =>
      response.writeHead(403).end(JSON.stringify({ errors: [{ code: "DENIED", message: "no\u001b[2J way" }] }));
    const { exitCode, stderr } = await cluster.run(["ls"]);
    expect(stderr).toBe("homecloud: registry.lab/_catalog: no way (DENIED)");
    expect(exitCode).toBe(1);
  });
});

test("by a detour to a gate that ends TLS itself: its certificate has to be the registry's own", async () => {
  const folder = await mkdtemp(join(tmpdir(), "homecloud-tls-"));
  const [key, certificate] = [join(folder, "tls.key"), join(folder, "tls.crt")];
  const subject = ["-subj", "/CN=registry", "-addext", "subjectAltName=DNS:registry.lab"];
  const made = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", key, "-out", certificate];
  await execa((await testTools()).bin("openssl"), ["req", ...made, ...subject]);
  const ca = await readFile(certificate, "utf8");
  const gate = createTlsServer({ key: await readFile(key), cert: ca }, (_, response) =>
    json(response, { repositories: ["a"] }),
  );
  const port = await listening(gate);
  const at = (url: string, authority?: string) => clientAt(url, { port, tls: true }, authority).repositories();
  expect(await at("https://registry.lab:30500", ca)).toEqual(["a"]);
  await expect(at("https://other.lab:30500", ca)).rejects.toThrow(/ERR_TLS_CERT_ALTNAME_INVALID/);
  await expect(at("https://registry.lab:30500")).rejects.toThrow(/SELF_SIGNED/);
  gate.closeAllConnections();
  gate.close();
  await rm(folder, { recursive: true });
});

describe("how a command ends", () => {
  test("status: with 1 where something is not ready, and its answer all the same", async () => {
    const { exitCode, stdout, stderr } = await cluster.run(["status", "--json"]);
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toMatchObject({ workloads: [{ name: "registry", ready: false }] });
    expect(exitCode).toBe(1);
  });

  test("Ctrl-C at a question: with 5, in a sentence, and nothing was done", async () => {
    answer = image("application/vnd.oci.image.config.v1+json", {});
    const typed = execa("script", ["-qec", `${HOMECLOUD} rm team/app:1`, "/dev/null"], {
      env: cluster.env,
      extendEnv: false,
      reject: false,
      all: true,
    });
    typed.stdout.on("data", (chunk: Buffer) => {
      if (chunk.includes("Delete")) typed.stdin.write("\u0003");
    });
    const { exitCode, stdout } = await typed;
    expect(stdout).toContain("homecloud: there was no answer, and nothing was done");
    expect(stdout).not.toMatch(/ExitPromptError|\n\s+at /);
    expect(exitCode).toBe(5);
    expect(asked.filter((request) => request.startsWith("DELETE"))).toEqual([]);
  });
});
