import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Finding } from "../../cli/rotate/check.ts";
import type { Plan } from "../../cli/rotate/plan.ts";
import { checksumOfCa } from "../../components/ca-checksum.ts";
import { apply, deployStack, kubectl, registryPod, removeNamespaces, type TestStack, until } from "./cluster.ts";
import { planOf, rotate } from "./rotate.ts";

/** Namespace of the pods that pull. */
const APPS = "e2e-rotate-apps";
const PASSWORDS = ["the first one, with a space", "the second one"] as const;

/** What the stack's file says; each rotation changes it, as the plan has it. */
const settings = { password: PASSWORDS[0] as string, pullUserGeneration: 1, keepFormerPullUser: true, generation: 1 };
let stack: TestStack;

/** `pulumi up`, as far as the cluster is concerned. */
async function up(changed: Partial<typeof settings> = {}): Promise<void> {
  Object.assign(settings, changed);
  const { password, pullUserGeneration, keepFormerPullUser, generation } = settings;
  stack = await deployStack(
    "rotate",
    30790,
    { pullSecretNamespaces: [APPS], pullUserGeneration, keepFormerPullUser },
    {
      "homecloud:registryPassword": password,
      "homecloud:tls": JSON.stringify({ mode: "private-ca", generation }),
    },
  );
}

beforeAll(async () => {
  await apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: APPS } });
  await up();
});
afterAll(async () => {
  await removeNamespaces(APPS, ...(stack ? [stack.namespace] : []));
});

/** What the plan sets a setting to. */
const setting = ({ steps }: Plan, key: string): string | undefined =>
  steps.flatMap(({ run }) => new RegExp(`^pulumi config set --path ${key} (\\S+)`).exec(run)?.[1] ?? [])[0];

/** What has not followed, each as `what: found`. Exit code and answer must agree, and no secret be in it. */
async function lagging(former?: string): Promise<string[]> {
  const { exitCode, stdout, stderr } = await rotate(
    stack.namespace,
    ["check", "--json", ...(former ? ["--former"] : [])],
    former,
  );
  const { outputs } = stack;
  for (const secret of [...PASSWORDS, outputs.registryPullPassword]) expect(stdout + stderr).not.toContain(secret);
  expect(stderr).toBe("");
  const { ok, findings } = JSON.parse(stdout) as { ok: boolean; findings: Finding[] };
  const lags = findings.filter((each) => each.ok === false);
  expect(ok).toBe(lags.length === 0);
  expect(exitCode).toBe(ok ? 0 : 1);
  for (const { what, toDo } of lags) expect(toDo, what).toBeTruthy();
  return lags.map(({ what, found }) => `${what}: ${found}`);
}

/** An object's data as an interrupted `up` would have left it: its former data back in place. */
const dataOf = async (kind: string, name: string, namespace: string): Promise<Record<string, string>> =>
  JSON.parse(await kubectl("-n", namespace, "get", kind, name, "-o", "jsonpath={.data}"));
const putBack = (kind: string, name: string, namespace: string, data: Record<string, string>) =>
  kubectl("-n", namespace, "patch", kind, name, "--type=merge", "-p", JSON.stringify({ data }));

test("a fresh deployment has nothing that lags", async () => {
  expect(await lagging()).toEqual([]);
  const { stdout } = await rotate(stack.namespace, ["check"]);
  expect(stdout).toMatch(/^pass +pull secret in e2e-rotate-apps +puller-1, let in$/m);
  expect(stdout).toMatch(/everything has followed$/);
});

test("a new password: refused until the registry has it, then let in, and the former one is out", async () => {
  const { steps } = await planOf(stack.namespace, "password");
  const commands = steps.map(({ run }) => run);
  expect(commands.slice(0, 4)).toEqual([
    "pulumi stack select rotate",
    "pulumi config set --secret registryPassword",
    "pulumi preview",
    "pulumi up",
  ]);
  expect(await lagging(PASSWORDS[0])).toEqual(["former password of homelab: it is the one that there is now"]);

  // Told to the command line, and not to the registry.
  await putBack("secret", "registry-client", stack.namespace, { password: btoa(PASSWORDS[1]) });
  expect(await lagging()).toEqual(["login of homelab: refused (401)"]);

  await up({ password: PASSWORDS[1] });
  expect(await lagging(PASSWORDS[0])).toEqual([]);
});

test("a new pull-only user: named are the namespace and the nodes that still have the former one", {
  timeout: 300_000,
}, async () => {
  const plan = await planOf(stack.namespace, "puller");
  expect(plan.title).toMatch(/^puller-2 in place of puller-1,/);
  expect(setting(plan, "registry\\.keepFormerPullUser")).toBe("false");
  const former = await dataOf("secret", "registry-pull", APPS);
  const nodes = (user: string) =>
    apply({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: {
        name: "trusted-nodes",
        namespace: stack.namespace,
        annotations: {
          "homecloud/pull-user": user,
          "homecloud/ca-sha256": checksumOfCa(stack.outputs.caCertificate),
        },
      },
      data: { "k3s-1": "2026-11-21T10:00:00Z" },
    });
  await nodes("puller-1");
  expect(await lagging()).toEqual([]);

  await up({ pullUserGeneration: Number(setting(plan, "registry\\.pullUserGeneration")) });
  await putBack("secret", "registry-pull", APPS, former);
  expect(await lagging()).toEqual([
    `pull secret in ${APPS}: has puller-1, the newest is puller-2`,
    "node k3s-1: pulls as puller-1, the newest is puller-2",
  ]);

  await up();
  await nodes("puller-2");
  expect(await lagging()).toEqual([]);
  expect((await rotate(stack.namespace, ["check"])).stdout).toMatch(/^- +former user puller-1 +still let in$/m);
  await up({ keepFormerPullUser: false });
  expect((await rotate(stack.namespace, ["check"])).stdout).not.toContain("puller-1");
  expect(setting(await planOf(stack.namespace, "puller"), "registry\\.keepFormerPullUser")).toBe("true");
});

test("a new CA: named are who has the former one, and the address that still shows its certificate", {
  timeout: 300_000,
}, async () => {
  const plan = await planOf(stack.namespace, "ca");
  const copy = await dataOf("configmap", "homecloud-ca", APPS);
  const former = await dataOf("secret", "registry-tls", stack.namespace);

  await up({ generation: Number(setting(plan, "tls\\.generation")) });
  await putBack("configmap", "homecloud-ca", APPS, copy);
  const current = await dataOf("secret", "registry-tls", stack.namespace);
  await putBack("secret", "registry-tls", stack.namespace, former);
  await restart();
  const ofFormer = "is of homecloud private CA, not of homecloud private CA 2";
  const notTried = "not tried: the registry's certificate is not to be trusted";
  expect(await lagging()).toEqual([
    `login of homelab: ${notTried}`,
    `pull secret in ${APPS}: puller-2: ${notTried}`,
    "node k3s-1: trusts a former CA",
    expect.stringMatching(
      new RegExp(`^CA in ${APPS}: homecloud private CA of [\\dTZ:-]+, not homecloud private CA 2 of`),
    ),
    `certificate of registry: ${ofFormer}`,
    `https://127.0.0.1:30790: ${ofFormer}`,
  ]);

  await kubectl("-n", stack.namespace, "delete", "configmap", "trusted-nodes");
  await putBack("secret", "registry-tls", stack.namespace, current);
  expect((await lagging()).at(-1), "its pod has read the former one").toBe(`https://127.0.0.1:30790: ${ofFormer}`);
  await restart();
  await up();
  expect(await lagging()).toEqual([]);
  expect((await planOf(stack.namespace, "ca")).effects.join()).toContain("Who trusts only generation 1 is out at once");
});

async function restart(): Promise<void> {
  await kubectl("-n", stack.namespace, "rollout", "restart", "deployment/registry");
  await registryPod(stack.namespace);
  const { registryUrl } = stack.outputs;
  await until(
    async () => (await execa("curl", ["-ks", "-m", "10", "-o", "/dev/null", registryUrl])).exitCode === 0,
    30,
    "it answers",
  );
}
