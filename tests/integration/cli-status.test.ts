import { join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Kube } from "../../cli/cluster/kube.ts";
import { findDeployment } from "../../cli/deployment.ts";
import { readStatus, type Status } from "../../cli/status/read.ts";
import { renderStatus } from "../../cli/status/screen.ts";
import { ClusterStandIn } from "./cluster-stand-in.ts";

/** What the API server answers about a registry that is well, by its path in the namespace. */
const METRICS = "/api/v1/namespaces/registry/services/registry:metrics/proxy/metrics";
const NODES = "/api/v1/namespaces/registry/configmaps/trusted-nodes";
const CERTIFICATE = "/api/v1/namespaces/registry/secrets/registry-tls";
const CLIENT = "/api/v1/namespaces/registry/secrets/registry-client";
const PODS = "/api/v1/namespaces/registry/pods";
const DEPLOYMENT = "/apis/apps/v1/namespaces/registry/deployments/registry";
const INGRESS = "/apis/networking.k8s.io/v1/namespaces/registry/ingresses/registry";

const metrics = ({ maintenance = 0, collected = 0 }) =>
  [
    "homecloud_registry_used_bytes 1024",
    "homecloud_registry_limit_bytes 4096",
    `homecloud_registry_maintenance ${maintenance}`,
    `homecloud_registry_last_collection_timestamp_seconds ${collected}`,
    "",
  ].join("\n");

let cluster: ClusterStandIn;

beforeAll(async () => {
  cluster = await ClusterStandIn.start({
    ...{ url: "http://registry.lab", host: "registry.lab" },
    user: { name: "homelab", password: "correct horse" },
  });
});
afterAll(() => cluster?.stop());

beforeEach(() => {
  for (const path of Object.keys(cluster.answers)) delete cluster.answers[path];
  Object.assign(cluster.answers, {
    [METRICS]: metrics({}),
    [PODS]: { kind: "PodList", items: [{ status: { conditions: [{ type: "Ready", status: "True" }] } }] },
    [DEPLOYMENT]: {
      kind: "Deployment",
      spec: { replicas: 1, template: { spec: { containers: [{ image: "registry:3.1.2" }] } } },
    },
  });
});

async function status(): Promise<Status> {
  const config = new KubeConfig();
  config.loadFromFile(join(cluster.home, "kubeconfig"));
  const kube = new Kube(config);
  return await readStatus(kube, await findDeployment(kube));
}

const screen = async () => renderStatus(await status(), new Date());

describe("what a role may not read is said, and the rest is shown", () => {
  test("Secrets", async () => {
    Object.assign(cluster.answers, { [CERTIFICATE]: 403, [CLIENT]: 403 });
    const { exitCode, stdout, stderr } = await cluster.run(["status"]);
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^registry +running +1 KiB of 4 KiB \(25 %\) +may not be read +registry:3\.1\.2$/m);
  });

  test("everything in the namespace", async () => {
    for (const path of [METRICS, NODES, CERTIFICATE, CLIENT, PODS, DEPLOYMENT, INGRESS]) cluster.answers[path] = 403;
    const stdout = await screen();
    expect(stdout).toMatch(/^registry( +may not be read){4}$/m);
    expect(stdout).toContain("registry: may not be read");
    expect(stdout).toContain("last garbage collection: may not be read");
    expect(stdout).toContain("nodes that trust the registry: may not be read");
    const { unreadable, workloads } = await status();
    expect(unreadable).toEqual(["trustedNodes", "lastCollection", "writesHeld"]);
    expect(workloads[0]?.unreadable.toSorted()).toEqual(["addresses", "certificateEnds", "images", "state", "storage"]);
    expect(workloads[0]?.ready).toBe(false);
  });
});

describe("held writes", () => {
  test("while the collector's lock is held", async () => {
    cluster.answers[METRICS] = metrics({ maintenance: 1 });
    expect(await screen()).toMatch(/^pushes wait: a collection, backup or restore holds them$/m);
    expect((await status()).writesHeld).toBe(true);
  });

  test("not else", async () => {
    expect(await screen()).not.toContain("pushes wait");
    expect((await status()).writesHeld).toBe(false);
  });
});

test.each([
  ["none yet", metrics({ collected: 0 })],
  ["2026-11-01 00:00 UTC", metrics({ collected: Date.parse("2026-11-01") / 1000 })],
  ["not known, the registry does not answer", 503],
])("the last collection: %s", async (text, answer) => {
  cluster.answers[METRICS] = answer;
  expect(await screen()).toContain(`last garbage collection: ${text}`);
});

test("a node that was never proven to pull is not one that trusts the registry", async () => {
  cluster.answers[NODES] = { kind: "ConfigMap", data: { "agent-1": "never", "server-1": "2026-11-01T10:00:00.000Z" } };
  expect((await status()).trustedNodes).toEqual(["server-1"]);
});
