import { mkdir, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sha256 } from "../integration/client.ts";
import { HOMECLOUD } from "../integration/cluster-stand-in.ts";
import { apply, deployStack, kubectl, lab, removeNamespaces, type TestStack, until } from "./cluster.ts";
import { archiveOf, ociIndex } from "./images.ts";
import { Skopeo } from "./skopeo.ts";

/** Namespace of the pods that pull. */
const APPS = "e2e-cli-apps";

let stack: TestStack;
let home: string;

beforeAll(async () => {
  await apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: APPS } });
  stack = await deployStack("cli", 30780, { pullSecretNamespaces: [APPS] });
  home = await mkdtemp(join(tmpdir(), "homecloud-home-"));
  await mkdir(join(home, ".local", "bin"), { recursive: true });
});
afterAll(async () => {
  await removeNamespaces(APPS, ...(stack ? [stack.namespace] : []));
  await rm(home, { recursive: true, force: true });
});

/** Runs a program as a person would: with a home folder and a kubeconfig, and nothing of this test's. */
async function run(program: string, ...args: string[]) {
  const tools = join(lab.bin("skopeo"), "..");
  const path = `${home}/.local/bin:${process.env.PATH}:${tools}`;
  const env = { PATH: path, HOME: home, KUBECONFIG: lab.kubeconfig };
  return await execa(program, args, { env, extendEnv: false, reject: false, stdin: "ignore" });
}

const homecloud = (...args: string[]) => run(HOMECLOUD, "--namespace", stack.namespace, ...args);

describe("push and pull, over verified TLS", () => {
  test("an archive that a pod then runs from", async () => {
    const pushed = await homecloud("push", await archiveOf("busybox"), "cli/busybox:1");
    expect(pushed.exitCode, pushed.stderr).toBe(0);
    expect(pushed.stderr).not.toContain("slower");
    await apply({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "pushed", namespace: APPS },
      spec: {
        restartPolicy: "Never",
        imagePullSecrets: [{ name: "registry-pull" }],
        containers: [
          {
            name: "pushed",
            image: `${stack.outputs.registryHost}/cli/busybox:1`,
            imagePullPolicy: "Always",
            command: ["echo", "started"],
          },
        ],
      },
    });
    const phase = () => kubectl("-n", APPS, "get", "pod", "pushed", "-o", "jsonpath={.status.phase}");
    await until(async () => (await phase()) === "Succeeded", 90, "the pod ended well");
    expect(await kubectl("-n", APPS, "logs", "pushed")).toBe("started");
  });

  test("two platforms there and back, and what skopeo sees is the same", async () => {
    const { folder, digest } = await ociIndex();
    expect((await homecloud("push", folder, "cli/multi")).exitCode).toBe(0);
    expect(await new Skopeo(stack).digest("cli/multi:1.0")).toBe(digest);
    const archive = join(home, "multi.tar");
    const pulled = await homecloud("pull", "cli/multi:1.0", "--all-platforms", "-o", archive);
    expect(pulled.exitCode, pulled.stderr).toBe(0);
    const raw = await execa(lab.bin("skopeo"), ["inspect", "--raw", `oci-archive:${archive}`], {
      stripFinalNewline: false,
    });
    expect(sha256(raw.stdout)).toBe(digest);
  });

  // A connection that is left open keeps each command until the gate ends it, after 75 s.
  test("by way of the cluster's API where the address is not reached: said, the same, and no slower by a minute", {
    timeout: 60_000,
  }, async () => {
    const secret = ["-n", stack.namespace, "patch", "secret", "registry-client", "--type=merge", "-p"];
    const url = (text: string) => JSON.stringify({ stringData: { url: text } });
    const { folder, digest } = await ociIndex();
    await kubectl(...secret, url(stack.outputs.registryUrl.replace(/:\d+$/, ":1")));
    try {
      const pushed = await homecloud("push", folder, "cli/detour");
      expect(pushed.exitCode, pushed.stderr).toBe(0);
      expect(pushed.stderr).toContain("going through the cluster's API");
      const pulled = await homecloud("pull", "cli/detour:1.0", "--all-platforms", "-o", join(home, "detour.tar"));
      expect(pulled.exitCode, pulled.stderr).toBe(0);
      expect(pulled.stdout).toContain(digest);
    } finally {
      await kubectl(...secret, url(stack.outputs.registryUrl));
    }
    expect(await new Skopeo(stack).digest("cli/detour:1.0")).toBe(digest);
  });
});

describe("a login", () => {
  test("lets skopeo push and pull with the cluster's password and CA, until the logout", async () => {
    const { registryHost, registryPassword } = stack.outputs;
    const login = await homecloud("login");
    expect(login.exitCode, login.stdout + login.stderr).toBe(0);
    expect(login.stdout).toContain(`logged in to ${registryHost}`);

    const { folder, digest } = await ociIndex();
    const reference = `docker://${registryHost}/cli/skopeo:1`;
    const pushed = await run("skopeo", "copy", "--all", "--preserve-digests", `oci:${folder}:1.0`, reference);
    expect(pushed.exitCode, pushed.stderr).toBe(0);
    const inspected = await run("skopeo", "inspect", reference);
    expect(inspected.exitCode, inspected.stderr).toBe(0);
    expect(await new Skopeo(stack).digest("cli/skopeo:1")).toBe(digest);

    const files = await execa("grep", ["-rlF", "--", registryPassword, home], { reject: false });
    expect(files.stdout, "no file holds the password").toBe("");

    const certificate = join(home, ".config", "containers", "certs.d", registryHost, "homecloud.crt");
    expect(await readFile(certificate, "utf8")).toBe(stack.outputs.caCertificate);
    expect((await homecloud("logout")).exitCode).toBe(0);
    await expect(stat(certificate)).rejects.toThrow("ENOENT");
    expect((await run("skopeo", "inspect", reference)).exitCode).not.toBe(0);
  });
});

test("completion knows what is in the registry", async () => {
  const { stdout } = await run(HOMECLOUD, "complete", "--", "--namespace", stack.namespace, "pull", "cli/busy");
  expect(stdout).toBe("cli/busybox:1\t");
});
