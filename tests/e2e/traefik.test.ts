import { mkdtemp, writeFile } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest, type RequestOptions } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "node:tls";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { LONG_UPLOADS_VALUES } from "../../components/ingress.ts";
import type { LocalOutputs } from "../../lab/deploy/deploy.ts";
import { applyStack } from "../../lab/deploy/with-render.ts";
import { basic } from "../integration/client.ts";
import { ingressTools } from "../tools.ts";
import { apply, kubectl, lab, registryPod, removeNamespaces, until } from "./cluster.ts";
import { Laptop } from "./laptop.ts";

const HOST = "registry.e2e.test";
const NAMESPACE = "registry-ingress";
const AWS_HOST = "localstack.e2e.test";
const AWS_NAMESPACE = "localstack-ingress";
/** An address of this machine that nothing else uses, to find in the log. */
const CLIENT = "127.0.0.9";

interface Traefik {
  address: string;
  http: number;
  https: number;
  options: string[];
}

/** Traefik as K3s ships it. */
const STOCK: Traefik = { address: "127.0.0.1", http: 18080, https: 18443, options: [] };

/** With the values that `longUploads` gives it, on the ports that URLs mean: a loopback address of its own. */
const RAISED: Traefik = {
  ...{ address: "127.0.77.1", http: 80, https: 443 },
  options: [`--entrypoints.websecure.transport.respondingtimeouts.readtimeout=${raisedTimeout()}`],
};

describe("through a real Traefik", () => {
  let outputs: LocalOutputs;
  const running: { kill(): boolean }[] = [];

  beforeAll(async () => {
    await apply({
      apiVersion: "networking.k8s.io/v1",
      kind: "IngressClass",
      metadata: { name: "traefik" },
      spec: { controller: "traefik.io/ingress-controller" },
    });
    await apply({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "traefik", namespace: "kube-system" },
      spec: { ports: [{ port: 443 }] },
    });
    const folder = await mkdtemp(join(tmpdir(), "homecloud-traefik-"));
    outputs = await applyStack(
      lab,
      { project: "homecloud", stack: "ingress", secretKeys: [], values: values() },
      join(folder, "generated.json"),
    );
    await registryPod(NAMESPACE);
    const { bin } = await ingressTools();
    for (const each of [STOCK, RAISED]) running.push(run(bin("traefik"), each));
    for (const each of [STOCK, RAISED]) {
      await until(async () => (await ask(each, "/v2/")).statusCode === 401, 30, "Traefik leads to the registry");
      const asked = () => ask(each, "/", {}, "GET", `s3.${AWS_HOST}`);
      await until(async () => (await asked()).statusCode === 200, 30, "Traefik leads to LocalStack");
    }
  });
  afterAll(async () => {
    for (const child of running) child.kill();
    await removeNamespaces(NAMESPACE, AWS_NAMESPACE);
    await kubectl("-n", "kube-system", "delete", "service/traefik", "--ignore-not-found");
  });

  /** One request over verified TLS, from an address of its own. */
  function ask(
    traefik: Traefik,
    path: string,
    headers: Record<string, string> = {},
    method = "GET",
    host = HOST,
  ): Promise<IncomingMessage & { body: string }> {
    return answer(httpsRequest({ ...to(traefik, path, host), method, headers: { host, ...headers } }));
  }

  function to({ address, https }: Traefik, path: string, servername = HOST): RequestOptions {
    return {
      host: address,
      port: https,
      path,
      servername,
      ca: outputs.caCertificate,
      localAddress: CLIENT,
      agent: false,
    };
  }

  /** The names in the certificate that is shown to who asks for this one; they must hold it. */
  async function certificateNames(servername: string): Promise<string | undefined> {
    const socket = connect({ host: STOCK.address, port: STOCK.https, servername, ca: outputs.caCertificate });
    const certificate = await new Promise<{ subjectaltname?: string }>((resolve, reject) => {
      socket.once("secureConnect", () => resolve(socket.getPeerCertificate()));
      socket.once("error", reject);
    });
    socket.destroy();
    return certificate.subjectaltname;
  }

  test("the certificate is ours, for the registry's name", async () => {
    expect(await certificateNames(HOST)).toBe(`DNS:${HOST}`);
  });

  test("plain HTTP is sent to HTTPS", async () => {
    const redirect = await answer(
      httpRequest({ host: "127.0.0.1", port: STOCK.http, path: "/v2/x?y=1", headers: { host: HOST } }),
    );
    expect(redirect.statusCode).toBe(308);
    expect(redirect.headers.location).toBe(`https://${HOST}/v2/x?y=1`);
  });

  test("the registry's answers and the security headers arrive", async () => {
    const refused = await ask(STOCK, "/v2/");
    expect(refused.headers).toMatchObject({
      "www-authenticate": 'Basic realm="Registry"',
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
    });
    const catalog = await ask(STOCK, "/v2/_catalog", login());
    expect(JSON.parse(catalog.body)).toHaveProperty("repositories");
    expect(catalog.headers["strict-transport-security"], "a private CA must not be pinned").toBeUndefined();
  });

  test("an upload's location stays on the host that was asked", async () => {
    const begun = await ask(STOCK, "/v2/located/blobs/uploads/", login(), "POST");
    expect(begun.statusCode).toBe(202);
    expect(begun.headers.location).toMatch(/^\/v2\/located\/blobs\/uploads\//);
  });

  test("the log names the client's own address, and believes no client about it", async () => {
    await ask(STOCK, "/v2/who-asked/tags/list", { ...login(), "x-forwarded-for": "6.6.6.6" });
    const log = await kubectl("-n", NAMESPACE, "logs", "deploy/registry", "-c", "gate", "--tail=20");
    const line = log.split("\n").find((text) => text.includes("/v2/who-asked/tags/list"));
    expect(JSON.parse(line ?? "{}")).toMatchObject({ client: CLIENT, user: "homelab" });
  });

  test("pods resolve the registry's name to the ingress controller's Service", async () => {
    const address = await kubectl("-n", "kube-system", "get", "service", "traefik", "-o", "jsonpath={.spec.clusterIP}");
    await until(
      async () => {
        const answer = await kubectl(
          "run",
          "lookup",
          "--rm",
          "-i",
          "--restart=Never",
          "--image=docker.io/library/busybox:1.37",
          "--image-pull-policy=IfNotPresent",
          "--",
          "nslookup",
          HOST,
        );
        return answer.includes(address) && answer.includes(`Name:\t${HOST}`);
      },
      150,
      `${HOST} resolves to ${address} in a pod`,
    );
  });

  test("a layer and an object that take 70 s fail with stock settings and pass with ours", async () => {
    const uploads = [slowLayer, slowObject].flatMap((upload) => [upload(STOCK, 70), upload(RAISED, 70)]);
    const [stockLayer, raisedLayer, stockObject, raisedObject] = await Promise.all(uploads);
    const said = (status: number | undefined) => status ?? "cut the connection";
    console.log(`70 s of upload: stock Traefik ${said(stockLayer)} and ${said(stockObject)},`);
    console.log(`with longUploads ${said(raisedLayer)} and ${said(raisedObject)}`);
    expect(stockLayer).not.toBe(202);
    expect(raisedLayer).toBe(202);
    expect(stockObject).not.toBe(200);
    expect(raisedObject).toBe(200);
  });

  describe("LocalStack", () => {
    const names = `DNS:${AWS_HOST}, DNS:*.${AWS_HOST}, DNS:*.s3.${AWS_HOST}, DNS:*.lambda-url.us-east-1.${AWS_HOST}`;

    test.each(["", "s3.", "sqs.", "photos.s3.", "photos."])(
      "the certificate holds %slocalstack.DOMAIN",
      async (below) => {
        expect(await certificateNames(`${below}${AWS_HOST}`)).toBe(names);
      },
    );

    test("plain HTTP is sent to HTTPS, for buckets too", async () => {
      for (const host of [AWS_HOST, `photos.s3.${AWS_HOST}`]) {
        const redirect = await answer(
          httpRequest({ host: "127.0.0.1", port: STOCK.http, path: "/a?b", headers: { host } }),
        );
        expect([redirect.statusCode, redirect.headers.location]).toEqual([308, `https://${host}/a?b`]);
      }
    });

    test("programs of people reach it by all its names, and 256 MiB pass", async () => {
      const caFile = join(await mkdtemp(join(tmpdir(), "homecloud-traefik-ca-")), "ca.crt");
      await writeFile(caFile, outputs.caCertificate);
      const laptop = await Laptop.start(outputs.dnsmasqLines, {
        ...outputs.awsEnvironment,
        NODE_EXTRA_CA_CERTS: caFile,
      });
      try {
        expect(await laptop.program("bucket", ["photos"])).toBe("photos/2026/cat.jpg 1000000; image/jpeg\nequal");
        expect(await laptop.program("table", ["orders"])).toBe("17: 12.5\nfrom 17 on: 12.5, 7");
        expect(await laptop.program("queue", ["orders"])).toBe(
          `https://${AWS_HOST}:443/queue/us-east-1/000000000000/orders\norder 17\nleft: 0,0`,
        );
        expect(await laptop.program("topic", ["paid"])).toContain("paid-audit: orders: order 17 has been paid");
        const one = laptop.env.AWS_ENDPOINT_URL ?? "";
        expect(await laptop.program("endpoint-in-code", [one, "one-endpoint"])).toBe("hello");
        const large = JSON.parse(await laptop.program("large-object", ["large", String(256 * 2 ** 20)]));
        console.log(`256 MiB through Traefik: up in ${large.uploadSeconds} s, down in ${large.downloadSeconds} s`);
        expect(large.equal).toBe(true);
      } finally {
        await laptop.stop();
      }
    });

    test("the log names the client's own address, and believes no client about it", async () => {
      await ask(STOCK, "/who-asked", { "x-forwarded-for": "6.6.6.6" }, "GET", `s3.${AWS_HOST}`);
      const log = await kubectl("-n", AWS_NAMESPACE, "logs", "deploy/localstack", "-c", "gate", "--tail=20");
      const line = log.split("\n").find((text) => text.includes("/who-asked"));
      expect(JSON.parse(line ?? "{}")).toMatchObject({ client: CLIENT, status: 404, service: "s3" });
    });
  });

  function login(): Record<string, string> {
    return basic({ name: outputs.registryUser, password: outputs.registryPassword });
  }

  /** Uploads a chunk a second. Returns the status, or undefined where the connection was cut. */
  async function slowLayer(traefik: Traefik, seconds: number): Promise<number | undefined> {
    const begun = await ask(traefik, "/v2/slow/blobs/uploads/", login(), "POST");
    const headers = { host: HOST, ...login(), "content-type": "application/octet-stream" };
    return slowly(httpsRequest({ ...to(traefik, begun.headers.location ?? ""), method: "PATCH", headers }), seconds);
  }

  /** The same into a bucket. */
  async function slowObject(traefik: Traefik, seconds: number): Promise<number | undefined> {
    const host = `slow.s3.${AWS_HOST}`;
    await ask(traefik, "/", {}, "PUT", host);
    return slowly(httpsRequest({ ...to(traefik, "/object", host), method: "PUT", headers: { host } }), seconds);
  }

  async function slowly(upload: ReturnType<typeof httpsRequest>, seconds: number): Promise<number | undefined> {
    const status = new Promise<number | undefined>((resolve) => {
      upload.once("response", (response) => resolve(response.statusCode));
      upload.once("error", () => resolve(undefined));
    });
    for (let second = 0; second < seconds; second++) {
      upload.write(Buffer.alloc(64 * 1024));
      await sleep(1000);
    }
    upload.end();
    return status;
  }
});

function values(): Record<string, string> {
  return {
    "homecloud:domain": "e2e.test",
    // The lab's pods have these addresses, and Traefik, on the node, comes from the bridge's.
    "homecloud:access": JSON.stringify({
      mode: "ingress",
      address: RAISED.address,
      waitForAddress: false,
      trustedProxies: ["10.142.0.0/24"],
    }),
    "homecloud:registryUi": JSON.stringify({ enabled: false }),
    "homecloud:localstack": JSON.stringify({
      ...{ namespace: AWS_NAMESPACE, edition: "ephemeral", lambda: { mode: "none" }, keepDataOnDestroy: false },
      ...{ storage: "1Gi", reserve: "64Mi", keepFree: "64Mi" },
    }),
    "homecloud:registry": JSON.stringify({
      namespace: NAMESPACE,
      storage: "256Mi",
      reserve: "32Mi",
      keepFree: "64Mi",
      localRegistryHosting: false,
    }),
  };
}

function run(program: string, { address, http, https, options }: Traefik): { kill(): boolean } {
  const entryPoints = [
    `--entrypoints.web.address=${address}:${http}`,
    `--entrypoints.websecure.address=${address}:${https}`,
    "--entrypoints.websecure.http.tls=true",
  ];
  const quiet = ["--global.sendanonymoususage=false", "--global.checknewversion=false"];
  return execa(program, ["--providers.kubernetesingress=true", ...entryPoints, ...quiet, ...options], {
    env: { KUBECONFIG: lab.kubeconfig },
    stdout: "ignore",
    stderr: "ignore",
    reject: false,
  });
}

function raisedTimeout(): string {
  const chart = parse(LONG_UPLOADS_VALUES) as {
    ports: { websecure: { transport: { respondingTimeouts: { readTimeout: string } } } };
  };
  return chart.ports.websecure.transport.respondingTimeouts.readTimeout;
}

async function answer(pending: ReturnType<typeof httpRequest>): Promise<IncomingMessage & { body: string }> {
  pending.end();
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    pending.once("response", resolve);
    pending.once("error", reject);
  });
  let body = "";
  for await (const chunk of response) body += chunk;
  return Object.assign(response, { body });
}
