import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { inState } from "../../lab/paths.ts";
import {
  apply,
  collectGarbage,
  deployStack,
  kubectl,
  registryPod,
  removeNamespaces,
  type TestStack,
  until,
} from "./cluster.ts";
import { archiveOf, ociImage, ociIndex } from "./images.ts";
import { pulledDigest, Skopeo } from "./skopeo.ts";

/** Namespace of the pods that pull. */
const APPS = "e2e-apps";

let stack: TestStack;

beforeAll(async () => {
  await apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: APPS } });
  stack = await deployStack("e2e", 30610, { pullSecretNamespaces: [APPS] });
});
afterAll(async () => {
  await removeNamespaces(APPS, ...(stack ? [stack.namespace] : []));
});

describe("push and pull with skopeo, over TLS with the private CA", () => {
  test("an image in Docker's format", async () => {
    const writer = new Skopeo(stack);
    const pushed = await writer.push(
      `docker-archive:${await archiveOf("busybox")}`,
      "formats/docker:1.0",
      "--format",
      "v2s2",
    );
    expect(pushed.exitCode, pushed.stderr).toBe(0);
    const { folder, exitCode } = await new Skopeo(stack, "puller").pull("formats/docker:1.0");
    expect(exitCode).toBe(0);
    expect(await pulledDigest(folder)).toBe(await writer.digest("formats/docker:1.0"));
  });

  test.each([
    ["an OCI image", ociImage],
    ["a multi-arch index", ociIndex],
  ])("%s: the digest that comes back is the one that went in", async (_, make) => {
    const source = await make();
    const name = `formats/${source.digest.slice(7, 19)}:1.0`;
    const pushed = await new Skopeo(stack).push(`oci:${source.folder}:1.0`, name, "--all");
    expect(pushed.exitCode, pushed.stderr).toBe(0);
    expect(await new Skopeo(stack).digest(name)).toBe(source.digest);
    const { folder, exitCode, stderr } = await new Skopeo(stack, "puller").pull(name, "--all");
    expect(exitCode, stderr).toBe(0);
    expect(await pulledDigest(folder)).toBe(source.digest);
  });
});

describe("refusals, as a client shows them", () => {
  test("a wrong password", async () => {
    const { exitCode, stderr } = await new Skopeo(stack, { name: "homelab", password: "wrong" }).pull(
      "formats/docker:1.0",
    );
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(/authentication required|unauthorized/i);
  });

  test("the pull-only user on push and delete", async () => {
    const puller = new Skopeo(stack, "puller");
    const push = await puller.push(`docker-archive:${await archiveOf("busybox")}`, "refused/app:1.0");
    expect(push.stderr).toContain("this user may only pull");
    const remove = await puller.delete("formats/docker:1.0");
    expect(remove.exitCode).not.toBe(0);
    expect(remove.stderr).toMatch(/this user may only pull|403/);
  });

  test("a missing image", async () => {
    const { stderr } = await new Skopeo(stack, "puller").pull("formats/none:1.0");
    expect(stderr).toMatch(/manifest unknown|repository name not known/);
  });
});

describe("a pod", () => {
  const pod = (name: string, image: string) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: APPS },
    spec: {
      restartPolicy: "Never",
      imagePullSecrets: [{ name: "registry-pull" }],
      containers: [
        {
          name,
          image: `${stack.outputs.registryHost}/${image}`,
          imagePullPolicy: "Always",
          command: ["echo", "started"],
        },
      ],
    },
  });
  const create = async (name: string, image: string) => {
    await kubectl("-n", APPS, "delete", "pod", name, "--ignore-not-found", "--wait=true");
    await apply(pod(name, image));
  };

  test("starts from a private image with the pull secret", async () => {
    await create("from-registry", "formats/docker:1.0");
    await until(async () => (await phase("from-registry")) === "Succeeded", 60, "the pod ended well");
    expect(await kubectl("-n", APPS, "logs", "from-registry")).toBe("started");
  });

  test("does not start where the node does not trust the CA: nothing here is insecure", async () => {
    await rm(join(inState("certs.d"), stack.outputs.registryHost, "ca.crt"));
    try {
      await create("untrusting", "formats/docker:1.0");
      await until(
        async () => /certificate|ca\.crt/.test(await kubectl("-n", APPS, "describe", "pod", "untrusting")),
        60,
        "the pull failed for the certificate",
      );
    } finally {
      await kubectl("-n", APPS, "delete", "pod", "untrusting", "--wait=false");
      stack = await deployStack("e2e", 30610, { pullSecretNamespaces: [APPS] });
    }
  });
});

describe("a full registry", () => {
  test("shows used, limit and remedy; pulls go on; after a delete and a collection pushes work again", async () => {
    const writer = new Skopeo(stack);
    const large = await ociImage(200 * 2 ** 20);
    const pushed = await writer.push(`oci:${large.folder}:1.0`, "large/app:1.0");
    expect(pushed.exitCode, pushed.stderr).toBe(0);
    // Into the reserve: whether this one still ends depends on when the volume is measured, between its blobs or after them.
    await writer.push(`oci:${(await ociImage(30 * 2 ** 20)).folder}:1.0`, "large/last:1.0");
    // Each time another image: what the registry has already needs no upload, and is not refused.
    const pushNew = async () => writer.push(`oci:${(await ociImage()).folder}:1.0`, "small/app:1.0");
    await until(async () => (await pushNew()).exitCode !== 0, 15, "a push is refused");
    const refused = await pushNew();
    expect(refused.stderr).toMatch(
      /denied: registry storage is full: 2\d\d\.\d MiB of 256\.0 MiB are used .*kubectl -n registry-e2e exec deploy\/registry/i,
    );
    expect((await new Skopeo(stack, "puller").pull("large/app:1.0")).exitCode).toBe(0);

    expect((await writer.delete("large/app:1.0")).exitCode).toBe(0);
    expect(await collectGarbage(stack.namespace)).toMatch(/freed 2\d\d MiB/);
    await until(async () => (await pushNew()).exitCode === 0, 15, "pushes work again");
  });

  test("a changed size setting updates the quota, not the claim", async () => {
    const claim = () =>
      kubectl(
        "-n",
        stack.namespace,
        "get",
        "pvc",
        "registry-data",
        "-o",
        "jsonpath={.spec.resources.requests.storage}",
      );
    stack = await deployStack("e2e", 30610, { pullSecretNamespaces: [APPS], storage: "512Mi" });
    expect(await claim()).toBe("256Mi");
    const metrics = await kubectl(
      "get",
      "--raw",
      `/api/v1/namespaces/${stack.namespace}/services/registry:metrics/proxy/metrics`,
    );
    expect(metrics).toMatch(/^homecloud_registry_limit_bytes 536870912$/m);
  });
});

test("health names its checks, and both metrics answer on a port of their own", async () => {
  const proxied = (path: string) =>
    kubectl("get", "--raw", `/api/v1/namespaces/${stack.namespace}/services/registry:metrics/proxy${path}`);
  expect(JSON.parse(await proxied("/healthz"))).toEqual({
    status: "pass",
    checks: { registry: "pass", volume: "pass", login: "pass" },
  });
  expect(await proxied("/metrics")).toMatch(/^homecloud_registry_used_bytes \d+$/m);
  expect(await proxied("/metrics/registry")).toMatch(/^registry_storage_/m);
});

test("the pod runs as rendered: no root, nothing writable but its volumes", async () => {
  const { name } = await registryPod(stack.namespace);
  for (const container of ["registry", "gate", "login", "quota"]) {
    const inside = (command: string) =>
      kubectl("-n", stack.namespace, "exec", name, "-c", container, "--", "sh", "-c", command);
    expect(await inside("id -u")).toBe("1000");
    await expect(inside("touch /etc/x"), container).rejects.toThrow(/Read-only file system/);
  }
  const status = parse(await kubectl("-n", stack.namespace, "get", "pod", name, "-o", "yaml")) as {
    status: { containerStatuses: { name: string; restartCount: number }[] };
  };
  expect(status.status.containerStatuses.filter(({ restartCount }) => restartCount > 0)).toEqual([]);
});

async function phase(pod: string): Promise<string> {
  return kubectl("-n", APPS, "get", "pod", pod, "-o", "jsonpath={.status.phase}");
}
