import { mkdtemp } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest, type RequestOptions } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "node:tls";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { LONG_UPLOADS_VALUES } from "../../components/registry/ingress.ts";
import type { LocalOutputs } from "../../lab/deploy/deploy.ts";
import { applyStack } from "../../lab/deploy/with-render.ts";
import { basic } from "../integration/client.ts";
import { describeWith } from "../optional.ts";
import { apply, kubectl, lab, registryPod, until } from "./cluster.ts";

const HOST = "registry.e2e.test";
const NAMESPACE = "registry-ingress";
/** An address of this machine that nothing else uses, to find in the log. */
const CLIENT = "127.0.0.9";

/** Traefik as K3s ships it, and with the values that `longUploads` gives it. */
const STOCK = { http: 18080, https: 18443, options: [] };
const RAISED = {
  http: 18081,
  https: 18444,
  options: [`--entrypoints.websecure.transport.respondingtimeouts.readtimeout=${raisedTimeout()}`],
};

describeWith("traefik", "through a real Traefik", () => {
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
    for (const { http, https, options } of [STOCK, RAISED]) running.push(traefik(http, https, options));
    for (const { https } of [STOCK, RAISED])
      await until(async () => (await ask(https, "/v2/")).statusCode === 401, 30, "Traefik leads to the registry");
  });
  afterAll(async () => {
    for (const child of running) child.kill();
    await kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found");
    await kubectl("-n", "kube-system", "delete", "service/traefik", "configmap/coredns-custom", "--ignore-not-found");
  });

  /** One request over verified TLS, from an address of its own. */
  function ask(
    port: number,
    path: string,
    headers: Record<string, string> = {},
    method = "GET",
  ): Promise<IncomingMessage & { body: string }> {
    return answer(httpsRequest({ ...to(port, path), method, headers: { host: HOST, ...headers } }));
  }

  function to(port: number, path: string): RequestOptions {
    return {
      host: "127.0.0.1",
      port,
      path,
      servername: HOST,
      ca: outputs.caCertificate,
      localAddress: CLIENT,
      agent: false,
    };
  }

  test("the certificate is ours, for the registry's name", async () => {
    const socket = connect({ host: "127.0.0.1", port: STOCK.https, servername: HOST, ca: outputs.caCertificate });
    const certificate = await new Promise<{ subjectaltname?: string }>((resolve, reject) => {
      socket.once("secureConnect", () => resolve(socket.getPeerCertificate()));
      socket.once("error", reject);
    });
    socket.destroy();
    expect(certificate.subjectaltname).toBe(`DNS:${HOST}`);
  });

  test("plain HTTP is sent to HTTPS", async () => {
    const redirect = await answer(
      httpRequest({ host: "127.0.0.1", port: STOCK.http, path: "/v2/x?y=1", headers: { host: HOST } }).end(),
    );
    expect(redirect.statusCode).toBe(308);
    expect(redirect.headers.location).toBe(`https://${HOST}/v2/x?y=1`);
  });

  test("the registry's answers and the security headers arrive", async () => {
    const refused = await ask(STOCK.https, "/v2/");
    expect(refused.headers).toMatchObject({
      "www-authenticate": 'Basic realm="Registry"',
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
    });
    const catalog = await ask(STOCK.https, "/v2/_catalog", login());
    expect(JSON.parse(catalog.body)).toHaveProperty("repositories");
    expect(catalog.headers["strict-transport-security"], "a private CA must not be pinned").toBeUndefined();
  });

  test("an upload's location stays on the host that was asked", async () => {
    const begun = await ask(STOCK.https, "/v2/located/blobs/uploads/", login(), "POST");
    expect(begun.statusCode).toBe(202);
    expect(begun.headers.location).toMatch(/^\/v2\/located\/blobs\/uploads\//);
  });

  test("the log names the client's own address, and believes no client about it", async () => {
    await ask(STOCK.https, "/v2/who-asked/tags/list", { ...login(), "x-forwarded-for": "6.6.6.6" });
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

  test("a layer that takes 70 s fails with stock settings and passes with ours", async () => {
    const [stock, raised] = await Promise.all([slowLayer(STOCK.https, 70), slowLayer(RAISED.https, 70)]);
    console.log(`70 s of upload: stock Traefik ${stock ?? "cut the connection"}, with longUploads ${raised}`);
    expect(stock).not.toBe(202);
    expect(raised).toBe(202);
  });

  function login(): Record<string, string> {
    return basic({ name: outputs.registryUser, password: outputs.registryPassword });
  }

  /** Uploads a chunk a second. Returns the status, or undefined where the connection was cut. */
  async function slowLayer(port: number, seconds: number): Promise<number | undefined> {
    const begun = await ask(port, "/v2/slow/blobs/uploads/", login(), "POST");
    const headers = { host: HOST, ...login(), "content-type": "application/octet-stream" };
    const upload = httpsRequest({ ...to(port, begun.headers.location ?? ""), method: "PATCH", headers });
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
    "homecloud:access": JSON.stringify({ mode: "ingress", waitForAddress: false, trustedProxies: ["10.142.0.0/24"] }),
    "homecloud:registry": JSON.stringify({
      namespace: NAMESPACE,
      storage: "256Mi",
      reserve: "32Mi",
      keepFree: "64Mi",
      localRegistryHosting: false,
    }),
  };
}

function traefik(http: number, https: number, options: string[]): { kill(): boolean } {
  const entryPoints = [
    `--entrypoints.web.address=127.0.0.1:${http}`,
    `--entrypoints.websecure.address=127.0.0.1:${https}`,
    "--entrypoints.websecure.http.tls=true",
  ];
  const quiet = ["--global.sendanonymoususage=false", "--global.checknewversion=false"];
  return execa("traefik", ["--providers.kubernetesingress=true", ...entryPoints, ...quiet, ...options], {
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
