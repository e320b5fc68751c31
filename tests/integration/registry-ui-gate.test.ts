import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { Agent, fetch as fetchFrom } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { renderUiGate, type UiGateOptions } from "../../components/registry-ui/gate.ts";
import { POD_LAYOUT } from "../../components/registry-ui/layout.ts";
import { makeCaCertificate, makeCertificate, makeKey } from "../../render/certificates.ts";
import { podTools, testTools } from "../tools.ts";
import { basic, type Credentials, errorOf, RegistryClient } from "./client.ts";
import { Pod, type PodTools, PULLER, WRITER } from "./pod.ts";
import { Page, UiFront, type UiFrontOptions } from "./registry-ui-front.ts";

const SERVICE = "registry.registry.svc";

let tools: PodTools;
let pod: Pod;
let page: Page;
const started: UiFront[] = [];

beforeAll(async () => {
  tools = await podTools(await testTools());
  [pod, page] = await Promise.all([Pod.start(tools, { trustedProxies: ["127.0.0.1/32"] }), Page.start()]);
});
afterAll(async () => {
  for (const front of started) await front.stop();
  await page?.stop();
  await pod?.stop();
});

/** The page's gate, in front of the registry and the page unless told otherwise. */
async function startFront(options: UiFrontOptions = {}, ports: { registry?: number; page?: number } = {}) {
  const front = await UiFront.start(
    tools,
    { registry: pod.layout.gatePort, page: page.port, ...ports },
    { trustedProxies: ["127.0.0.1/32"], ...options },
  );
  started.push(front);
  return front;
}

const at = ({ url }: { url: string }, user?: Credentials) => new RegistryClient(url, user);
const write = (client: RegistryClient, method: string, path: string) => client.request(path, { method });

describe("who sees the list", () => {
  let front: UiFront;
  beforeAll(async () => {
    front = await startFront();
    await at(pod, WRITER).pushImage("team/app", "1.0");
  });

  test("nobody without a login: 401 with one challenge, for which a browser asks", async () => {
    const answer = await at(front).request("/v2/_catalog?n=100");

    expect(answer.status).toBe(401);
    expect(answer.headers.get("www-authenticate")).toBe('Basic realm="Registry"');
    expect(await errorOf(answer)).toMatchObject({ code: "UNAUTHORIZED" });
  });

  test("nobody with a wrong password: the same", async () => {
    const answer = await at(front, { name: WRITER.name, password: "wrong" }).request("/v2/_catalog");

    expect(answer.status).toBe(401);
    expect(answer.headers.get("www-authenticate")).toBe('Basic realm="Registry"');
  });

  test.each([PULLER, WRITER])("$name, with tags, manifest and digest", async (user) => {
    const client = at(front, user);
    const list = await client.request("/v2/_catalog?n=100000");
    const tags = await client.request("/v2/team/app/tags/list");

    expect(await list.json()).toEqual({ repositories: ["team/app"] });
    expect(await tags.json()).toEqual({ name: "team/app", tags: ["1.0"] });
    const digest = await client.pullImage("team/app", "1.0");
    const head = await client.request("/v2/team/app/manifests/1.0", { method: "HEAD", headers: ACCEPT });
    expect(head.headers.get("docker-content-digest")).toBe(digest);
  });

  test("the page itself needs no login, and is never told one", async () => {
    const answer = await fetch(`${front.url}/`, { headers: basic(WRITER) });

    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain("images");
    expect(page.requests.at(-1)?.headers.authorization).toBeUndefined();
  });

  test("the page has our style added to its own, which is found where it says", async () => {
    const text = await (await fetch(front.url, { headers: { "accept-encoding": "gzip" } })).text();
    const [, href = ""] = /<title>images<\/title><link rel="stylesheet" href="([^"]+)"><\/head>/.exec(text) ?? [];
    const style = await fetch(new URL(href, front.url));

    expect(style.headers.get("content-type")).toBe("text/css");
    expect(await style.text()).toContain("tag-table");
    expect(page.requests.at(-1)?.headers["accept-encoding"]).toBeUndefined();
  });

  test("wrong logins are counted by the visitor's address: others get in while one is refused", async () => {
    const wrong = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        at(front, { name: WRITER.name, password: `wrong-${i}` }).request("/v2/", {
          headers: { "x-forwarded-for": "192.168.1.66" },
        }),
      ),
    );
    const other = await at(front, PULLER).request("/v2/", { headers: { "x-forwarded-for": "192.168.1.7" } });

    expect(wrong.map(({ status }) => status)).toContain(429);
    expect(other.status).toBe(200);
    expect(await pod.logs()).toMatch(/"client":"192\.168\.1\.66","user":"homelab"/);
  });

  test("an address that a visitor makes up is not handed on", async () => {
    const direct = await startFront({ trustedProxies: [] });
    const forged = { headers: { "x-forwarded-for": "203.0.113.9" } };

    expect((await at(direct, PULLER).request("/v2/", forged)).status).toBe(200);
    expect(await pod.logs()).not.toContain("203.0.113.9");
  });
});

describe("what is not done here", () => {
  const UPLOADS = "/v2/team/app/blobs/uploads/";
  const ANY = `sha256:${"0".repeat(64)}`;
  const writes: [string, string][] = [
    ["POST", UPLOADS],
    ["PATCH", `${UPLOADS}some-upload`],
    ["PUT", "/v2/team/app/manifests/2.0"],
    ["PUT", `${UPLOADS}some-upload?digest=${ANY}`],
    ["DELETE", `/v2/team/app/blobs/${ANY}`],
    ["DELETE", `${UPLOADS}some-upload`],
    ["PROPFIND", "/v2/_catalog"],
  ];
  let front: UiFront;
  let deleting: UiFront;
  beforeAll(async () => {
    [front, deleting] = await Promise.all([startFront(), startFront({ allowDelete: true })]);
  });

  test.each(writes)(
    "%s %s: refused even for the user who pushes, whether images may be deleted or not",
    async (method, path) => {
      for (const gate of [front, deleting]) {
        const answer = await write(at(gate, WRITER), method, path);
        expect(answer.status).toBe(405);
        expect(answer.headers.get("content-type")).toBe("application/json");
        expect(answer.headers.get("allow")).toBe(`GET, HEAD, OPTIONS${gate === deleting ? ", DELETE" : ""}`);
        expect(await errorOf(answer)).toMatchObject({
          code: "UNSUPPORTED",
          message: expect.stringContaining("push to registry.test"),
        });
      }
    },
  );

  test("a body of any size is no reason for another answer", async () => {
    const answer = await at(front, WRITER).request("/v2/team/app/manifests/2.0", {
      method: "PUT",
      body: "x".repeat(2 ** 21),
    });
    expect(answer.status).toBe(405);
    expect((await fetch(`${front.url}/`, { method: "POST", body: "x".repeat(2 ** 21) })).status).toBe(413);
  });

  test("deleting, unless it is allowed: the image stays, and the answer names the setting", async () => {
    const digest = await at(pod, WRITER).pushImage("team/kept", "1");
    const answer = await at(front, WRITER).deleteManifest("team/kept", digest);

    expect(answer.status).toBe(405);
    expect(await errorOf(answer)).toMatchObject({ message: expect.stringContaining("registryUi.allowDelete") });
    expect(await at(pod, PULLER).pullImage("team/kept", "1")).toBe(digest);
  });

  test("a path that only looks like a manifest's once it is read is none", async () => {
    const blob = `/v2/team/app/manifests/../blobs/${ANY}`;
    const { stdout } = await execa("curl", [
      ...["-s", "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is", "-X", "DELETE"],
      ...["-u", `${WRITER.name}:${WRITER.password}`, `${deleting.url}${blob}`],
    ]);
    expect(stdout).toBe("405");
  });
});

describe("deleting, where it is allowed", () => {
  let front: UiFront;
  beforeAll(async () => {
    front = await startFront({ allowDelete: true });
  });

  test("is not for strangers, nor for the user who only pulls: 401, DENIED, and the image stays", async () => {
    const digest = await at(pod, WRITER).pushImage("team/gone", "1");
    const stranger = await at(front).deleteManifest("team/gone", digest);
    const puller = await at(front, PULLER).deleteManifest("team/gone", digest);

    expect(stranger.status).toBe(401);
    expect(puller.status).toBe(403);
    expect(await errorOf(puller)).toMatchObject({ code: "DENIED" });
    expect(await at(pod, PULLER).pullImage("team/gone", "1")).toBe(digest);
  });

  test("is done for the user who pushes: by digest, with every tag of it", async () => {
    const writer = at(pod, WRITER);
    const digest = await writer.pushImage("team/twice", "1");
    const manifest = await (await writer.request("/v2/team/twice/manifests/1", { headers: ACCEPT })).text();
    await writer.putManifest("team/twice", "latest", manifest);
    expect((await at(front, WRITER).deleteManifest("team/twice", digest)).status).toBe(202);

    for (const tag of ["1", "latest"])
      expect((await at(front, PULLER).request(`/v2/team/twice/manifests/${tag}`, { headers: ACCEPT })).status).toBe(
        404,
      );
  });
});

describe("with TLS from gate to gate, where there is no ingress", () => {
  let authority: Authority;
  let registry: Pod;
  let front: UiFront;
  let serving: { certificate: string; privateKey: string };

  beforeAll(async () => {
    authority = await makeAuthority("the CA");
    serving = await authority.issue(["localhost"], ["127.0.0.1"]);
    registry = await Pod.start(tools, { tls: await authority.issue([SERVICE], []) });
    await tlsClient(registry.layout.gatePort, WRITER).pushImage("team/secure", "1");
    front = await secureFront({ ca: authority.certificate });
  });
  afterAll(() => registry?.stop());

  const secureFront = (options: UiFrontOptions, tlsName = SERVICE) =>
    startFront(
      {
        tls: serving,
        trustedProxies: [],
        registry: { address: `127.0.0.1:${registry.layout.gatePort}`, host: "127.0.0.1:30500", tlsName },
        ...options,
      },
      { registry: registry.layout.gatePort },
    );
  const statusAt = async ({ layout }: UiFront) =>
    (await tlsClient(layout.gatePort, WRITER).request("/v2/_catalog")).status;

  test("the list comes through both", async () => {
    const answer = await tlsClient(front.layout.gatePort, PULLER).request("/v2/_catalog?n=100000");

    expect(await answer.json()).toEqual({ repositories: ["team/secure"] });
  });

  test("a registry that another CA certifies, or for another name, gets no login: 503", async () => {
    const strange = await secureFront({ ca: (await makeAuthority("another CA")).certificate });
    const misnamed = await secureFront({ ca: authority.certificate }, "registry.elsewhere.svc");

    for (const gate of [strange, misnamed]) {
      const answer = await tlsClient(gate.layout.gatePort, WRITER).request("/v2/_catalog");
      expect(answer.status).toBe(503);
      expect(await errorOf(answer)).toMatchObject({ code: "UNAVAILABLE" });
      expect((await gate.logs()).join()).toMatch(/upstream SSL certificate (verify error|does not match)/);
    }
  });

  test("through the rotation of the CA: whoever knows the former one goes on, and the new one does too", async () => {
    const next = await makeAuthority("the CA 2");
    const crossed = await authority.crossSign(next);
    const renewed = await next.issue([SERVICE], []);
    await registry.restart({ tls: { ...renewed, certificate: `${renewed.certificate}\n${crossed}` } });

    expect(await statusAt(front)).toBe(200);
    expect(await statusAt(await secureFront({ ca: next.certificate }))).toBe(200);
  });

  test("plain HTTP to the port is sent to HTTPS", async () => {
    const answer = await fetch(`http://127.0.0.1:${front.layout.gatePort}/a?b=c`, { redirect: "manual" });

    expect(answer.status).toBe(308);
    expect(answer.headers.get("location")).toBe(`https://127.0.0.1:${front.layout.gatePort}/a?b=c`);
  });
});

describe("behind an ingress", () => {
  test("plain HTTP is sent to HTTPS, HTTPS passes, and the registry sends nobody on", async () => {
    const front = await startFront();
    const by = (proto: string, path: string) =>
      at(front, PULLER).request(path, { redirect: "manual", headers: { "x-forwarded-proto": proto } });

    for (const path of ["/", "/v2/_catalog"]) {
      const plain = await by("http", path);
      expect(plain.status).toBe(308);
      expect(plain.headers.get("location")).toBe(`https://127.0.0.1${path}`);
      expect((await by("https", path)).status).toBe(200);
    }
  });
});

describe("what a browser is told", () => {
  const STRICT = "default-src 'none'; frame-ancestors 'none'; sandbox";
  let front: UiFront;
  beforeAll(async () => {
    front = await startFront({ hsts: true });
  });

  test("each of them once, whoever answers: the page, the registry, the gate itself", async () => {
    const answers = {
      page: await fetch(front.url),
      registry: await at(front, PULLER).request("/v2/_catalog"),
      unauthorized: await at(front).request("/v2/"),
      refused: await write(at(front, WRITER), "POST", "/v2/a/blobs/uploads/"),
      redirect: await fetch(front.url, { redirect: "manual", headers: { "x-forwarded-proto": "http" } }),
    };
    for (const [name, { headers }] of Object.entries(answers)) {
      expect(headers.get("x-content-type-options"), name).toBe("nosniff");
      expect(headers.get("x-frame-options"), name).toBe("DENY");
      expect(headers.get("referrer-policy"), name).toBe("no-referrer");
      expect(headers.get("strict-transport-security"), name).toBe("max-age=31536000");
      if (name !== "page") expect(headers.get("content-security-policy"), name).toBe(STRICT);
      expect(headers.get("server"), name).toBe("nginx");
    }
    const policy = answers.page.headers.get("content-security-policy");
    expect(policy).toContain("default-src 'self'; ");
    expect(policy).not.toMatch(/script-src|unsafe-eval|https?:/);
    expect(answers.page.headers.get("cache-control")).toBe("no-cache");
  });

  test("no browser keeps what an image holds: the registry itself would let it, for a year", async () => {
    const client = at(pod, WRITER);
    await client.pushImage("kept/app", "1");
    const headers = { accept: "application/vnd.oci.image.manifest.v1+json" };
    const manifest = await (await client.request("/v2/kept/app/manifests/1", { headers })).json();
    const path = `/v2/kept/app/blobs/${(manifest as { config: { digest: string } }).config.digest}`;
    expect((await client.request(path)).headers.get("cache-control")).toBe("max-age=31536000");
    expect((await at(front, PULLER).request(path)).headers.get("cache-control")).toBe("private, no-store");
  });

  test("no other origin is let in: a page elsewhere cannot even ask", async () => {
    const answer = await at(front, WRITER).request("/v2/_catalog", {
      method: "OPTIONS",
      headers: { origin: "https://evil.example", "access-control-request-method": "DELETE" },
    });
    expect([...answer.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
  });

  test("lists travel packed", async () => {
    for (let i = 0; i < 40; i++) await at(pod, WRITER).pushImage(`packed/with-quite-a-long-name-${i}`, "1", 1);
    const answer = await at(front, PULLER).request("/v2/_catalog?n=100000", { headers: { "accept-encoding": "gzip" } });

    expect(answer.headers.get("content-encoding")).toBe("gzip");
    expect(answer.headers.get("vary")).toContain("Accept-Encoding");
    expect(((await answer.json()) as { repositories: string[] }).repositories.length).toBeGreaterThanOrEqual(40);
  });
});

describe("while something is away", () => {
  const NOBODY = 1;

  test("the registry: the page is there, and says in the registry's form what is the matter", async () => {
    const front = await startFront({}, { registry: NOBODY });
    const answer = await at(front, PULLER).request("/v2/_catalog");

    expect((await fetch(front.url)).status).toBe(200);
    expect(answer.status).toBe(503);
    expect(answer.headers.get("retry-after")).toBe("5");
    expect(await errorOf(answer)).toMatchObject({ code: "UNAVAILABLE" });
    expect((await fetch(`http://127.0.0.1:${front.layout.healthPort}/healthz`)).status).toBe(200);
  });

  test("the page: 503, not ready, and lists go on", async () => {
    const front = await startFront({}, { page: NOBODY });
    const answer = await fetch(front.url);

    expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "5"]);
    expect(await answer.text()).toContain("the page does not answer");
    expect((await at(front, PULLER).request("/v2/_catalog")).status).toBe(200);
    expect((await fetch(`http://127.0.0.1:${front.layout.healthPort}/healthz`)).status).toBe(503);
  });

  test("the registry is found again when it is back", async () => {
    const front = await startFront();
    expect((await at(front, PULLER).request("/v2/")).status).toBe(200);
    await pod.shutDown();
    expect((await at(front, PULLER).request("/v2/")).status).toBe(503);
    await pod.restart();
    expect((await at(front, PULLER).request("/v2/")).status).toBe(200);
  });
});

test("nothing that the gate logs holds a password or an Authorization header", async () => {
  const front = await startFront();
  await at(front, WRITER).request("/v2/_catalog");
  const logs = (await front.logs()).join("\n");

  expect(await front.accessLog()).toEqual([
    expect.objectContaining({ user: WRITER.name, method: "GET", path: "/v2/_catalog", status: 200 }),
  ]);
  expect(logs).not.toContain(WRITER.password);
  expect(logs).not.toContain(basic(WRITER).authorization.slice("Basic ".length));
});

describe("nginx -t accepts every configuration that can be rendered", () => {
  const registry = { address: "127.0.0.1:80", host: "registry.homelab.local" };
  const behindIngress: UiGateOptions = {
    ...{ tls: false, trustedProxies: ["10.42.0.0/16", "fd00::/8"], registry, allowDelete: false },
  };
  const withTls = { address: "127.0.0.1:443", host: "[fd00::10]:30500", tlsName: SERVICE };
  const shapes: Record<string, UiGateOptions> = {
    "behind an ingress": behindIngress,
    "behind an ingress that is named twice": { ...behindIngress, trustedProxies: ["10.42.0.0/16", "10.42.0.0/16"] },
    "behind an ingress, with a public certificate": { ...behindIngress, hsts: true },
    "where images may be deleted": { ...behindIngress, allowDelete: true },
    "on a node port, with TLS": { tls: true, trustedProxies: [], registry: withTls, allowDelete: true },
    "on loopback, without TLS": { tls: false, trustedProxies: [], registry, allowDelete: false },
  };

  test.each(Object.entries(shapes))("%s", async (_, options) => {
    const root = await mkdtemp(join(tmpdir(), "homecloud-nginx-"));
    const folder = (name: string) => join(root, name);
    const layout = {
      ...POD_LAYOUT,
      ...{ tmp: folder("tmp"), config: root, certificate: root, caFile: folder("tls.crt"), accessLog: folder("log") },
    };
    await mkdir(layout.tmp);
    const { certificate, privateKey } = await (await makeAuthority("a CA")).issue(["localhost"], []);
    await writeFile(folder("tls.crt"), certificate);
    await writeFile(folder("tls.key"), privateKey);
    await writeFile(folder("gate.conf"), renderUiGate(layout, options));
    const args = ["-t", "-e", "stderr", "-p", root, "-c", folder("gate.conf")];
    const { all, exitCode } = await execa(tools.nginx, args, { all: true, reject: false });

    expect(exitCode, all).toBe(0);
    expect(all, "a warning is a mistake too").not.toMatch(/\[warn\]/);
    await rm(root, { recursive: true });
  });
});

const ACCEPT = { accept: "application/vnd.oci.image.manifest.v1+json" };

/** A client that takes any certificate: what the gate verifies is behind it. */
class TrustingClient extends RegistryClient {
  override request(path: string, { method = "GET", body, headers }: RequestInit = {}): Promise<Response> {
    const login = this.user ? basic(this.user) : {};
    const init = { method, body, headers: { ...login, ...(headers as Record<string, string>) } };
    return fetchFrom(new URL(path, this.url), { ...init, dispatcher: ANY_CERTIFICATE } as never) as never;
  }
}

const tlsClient = (port: number, user?: Credentials) => new TrustingClient(`https://127.0.0.1:${port}`, user);

const ANY_CERTIFICATE = new Agent({ connect: { rejectUnauthorized: false } });

interface Authority {
  certificate: string;
  keyPem: string;
  commonName: string;
  issue(dnsNames: string[], ipAddresses: string[]): Promise<{ certificate: string; privateKey: string }>;
  /** The other's certificate, signed by this one. */
  crossSign(other: Authority): Promise<string>;
}

async function makeAuthority(commonName: string): Promise<Authority> {
  const keyPem = await makeKey();
  const request = { keyPem, commonName, dnsNames: [], ipAddresses: [], validityHours: 1 };
  const certificate = await makeCaCertificate(request);
  const ca = { keyPem, certPem: certificate };
  const validityHours = 1;
  return {
    ...{ certificate, keyPem, commonName },
    async issue(dnsNames, ipAddresses) {
      const privateKey = await makeKey();
      const names = { commonName: "server", dnsNames, ipAddresses };
      return { certificate: await makeCertificate({ keyPem: privateKey, ...names, validityHours }, ca), privateKey };
    },
    crossSign: (other) =>
      makeCertificate(
        { ...request, keyPem: other.keyPem, commonName: other.commonName, validityHours, isCa: true },
        ca,
      ),
  };
}
