import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import type { Plan } from "../../cli/rotate/plan.ts";
import { loadSettings } from "../../config/load.ts";
import { trustRegistry } from "../../lab/lab.ts";
import { GeneratedValues } from "../../render/generated-values.ts";
import { render } from "../../render/render.ts";
import { readStackFile } from "../../render/stack-file.ts";
import { describeWith } from "../optional.ts";
import { answers, kubectl, lab, registryPod, removeNamespaces, type TestStack } from "./cluster.ts";
import { archiveOf, ociImage } from "./images.ts";
import { planOf, rotate } from "./rotate.ts";
import { pulledDigest, Skopeo } from "./skopeo.ts";

const root = resolve(import.meta.dirname, "../..");
const STACK = "engine";
const NAMESPACE = "registry-engine";
const SETTINGS = {
  "homecloud:access": { mode: "node-port", port: 30630 },
  "homecloud:registry": {
    namespace: NAMESPACE,
    storage: "256Mi",
    reserve: "32Mi",
    keepFree: "64Mi",
    localRegistryHosting: false,
  },
  // As the lab has it: neither the page's image nor the one with persistence is on a package registry.
  "homecloud:registryUi": { enabled: false },
  "homecloud:localstack": {
    edition: "ephemeral",
    namespace: "localstack-engine",
    port: 30631,
    storage: "256Mi",
    reserve: "32Mi",
    keepFree: "64Mi",
    lambda: { mode: "none" },
  },
};

describeWith("pulumi", "with Pulumi's engine", () => {
  let folder: string;
  let env: NodeJS.ProcessEnv;
  let image: Awaited<ReturnType<typeof ociImage>>;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "homecloud-pulumi-"));
    await mkdir(join(folder, "backend"));
    env = {
      ...lab.env,
      PATH: `${join(root, "node_modules", ".bin")}:${lab.env.PATH}`,
      KUBECONFIG: lab.kubeconfig,
      PULUMI_BACKEND_URL: `file://${join(folder, "backend")}`,
      PULUMI_CONFIG_PASSPHRASE: "only for tests",
      PULUMI_SKIP_UPDATE_CHECK: "true",
    };
    // `stack init` writes the salt of the stack's secrets into the stack's file: here, not into the repository.
    await writeFile(join(folder, "Pulumi.yaml"), await readFile(join(root, "Pulumi.yaml")));
    await execa("pulumi", ["--non-interactive", "stack", "init", STACK], { env, cwd: folder });
    await configure(SETTINGS);
    image = await ociImage();
  });
  afterAll(async () => {
    await pulumi("destroy", "--yes", "--skip-preview");
    await removeNamespaces(NAMESPACE);
  });

  async function configure(config: object): Promise<void> {
    const path = join(folder, `Pulumi.${STACK}.yaml`);
    const { encryptionsalt } = parse(await readFile(path, "utf8")) as { encryptionsalt: string };
    await writeFile(path, stringify({ config, encryptionsalt }));
  }

  async function pulumi(...args: string[]): Promise<{ exitCode: number | undefined; all: string; stdout: string }> {
    const stack = args[0] === "stack" ? [] : ["--config-file", join(folder, `Pulumi.${STACK}.yaml`)];
    const command = ["--non-interactive", "--stack", STACK, ...args, ...stack];
    const { exitCode, all, stdout } = await execa("pulumi", command, { env, cwd: root, all: true, reject: false });
    return { exitCode, all, stdout };
  }

  async function up(): Promise<string> {
    const { exitCode, all } = await pulumi("up", "--yes", "--skip-preview");
    expect(exitCode, all).toBe(0);
    return changes(all);
  }

  async function deployed(): Promise<TestStack> {
    const { stdout } = await pulumi("stack", "output", "--json", "--show-secrets");
    const outputs = JSON.parse(stdout);
    const caFolder = join(folder, "ca");
    await mkdir(caFolder, { recursive: true });
    await writeFile(join(caFolder, "ca.crt"), outputs.caCertificate);
    return { namespace: NAMESPACE, outputs, caFolder, caFile: join(caFolder, "ca.crt") };
  }

  test("up, a push, and a preview that shows no changes", async () => {
    console.log(await up());
    const pushed = await new Skopeo(await deployed()).push(`oci:${image.folder}:1.0`, "kept/app:1.0");
    expect(pushed.exitCode, pushed.stderr).toBe(0);
    const preview = await pulumi("preview", "--expect-no-changes");
    expect(preview.exitCode, preview.all).toBe(0);
  });

  test("the render has the same objects with the same names, generated values apart", async () => {
    const { stdout } = await pulumi("stack", "export", "--show-secrets");
    const resources = (JSON.parse(stdout) as { deployment: { resources: { type: string; inputs: Manifest }[] } })
      .deployment.resources;
    const real = resources.filter(({ type }) => type.startsWith("kubernetes:")).map(({ inputs }) => comparable(inputs));

    const generated = await GeneratedValues.open(join(folder, "generated.json"));
    const settings = loadSettings({
      ...(await readStackFile("homecloud", "local")),
      values: Object.fromEntries(Object.entries(SETTINGS).map(([key, value]) => [key, JSON.stringify(value)])),
    });
    const { manifests } = await render(settings, generated, { project: "homecloud", stack: STACK, secrets: false });
    const rendered = manifests.map((manifest) => comparable(manifest as Manifest));

    // The namespace too: the engine's order, and so that of two objects of one name, is another each time.
    const name = ({ kind, metadata }: Manifest) => `${kind}/${metadata.namespace}/${metadata.name}`;
    const byName = (a: Manifest, b: Manifest) => name(a).localeCompare(name(b));
    expect(real.length).toBeGreaterThan(8);
    expect(rendered.sort(byName)).toEqual(real.sort(byName));
  });

  test("examples/consumer deploys a pod from this registry, by a StackReference", async () => {
    const stack = await deployed();
    const archive = await archiveOf("nginx");
    const pushed = await new Skopeo(stack).push(`docker-archive:${archive}`, "demo/app:1.0.0");
    expect(pushed.exitCode, pushed.stderr).toBe(0);
    await trustRegistry(stack.outputs.registryHost, {
      server: stack.outputs.registryUrl,
      ca: stack.outputs.caCertificate,
    });

    const cwd = join(root, "examples", "consumer");
    const own = join(folder, "consumer");
    await mkdir(own);
    await writeFile(join(own, "Pulumi.yaml"), await readFile(join(cwd, "Pulumi.yaml")));
    await execa("pulumi", ["--non-interactive", "stack", "init", "consumer"], { env, cwd: own });
    const consumer = (...args: string[]) =>
      execa(
        "pulumi",
        ["--non-interactive", "--stack", "consumer", ...args, "--config-file", join(own, "Pulumi.consumer.yaml")],
        { env, cwd, all: true, reject: false },
      );
    await consumer("config", "set", "homecloudStack", `organization/homecloud/${STACK}`);
    await consumer("config", "set", "namespace", "consumer-e2e");
    try {
      const up = await consumer("up", "--yes", "--skip-preview");
      expect(up.exitCode, up.all).toBe(0);
      const pods = await kubectl(
        "-n",
        "consumer-e2e",
        "get",
        "pods",
        "-o",
        "jsonpath={.items[*].status.containerStatuses[*].image} {.items[*].status.phase}",
      );
      expect(pods).toBe(`${stack.outputs.registryHost}/demo/app:1.0.0 Running`);
    } finally {
      await consumer("destroy", "--yes", "--skip-preview");
    }
  });

  test("no password is in the state in the clear", async () => {
    const { outputs } = await deployed();
    const { stdout } = await pulumi("stack", "export");
    for (const secret of [outputs.registryPassword, outputs.registryPullPassword]) expect(stdout).not.toContain(secret);
    expect(stdout).not.toContain("PRIVATE KEY");
  });

  const whatPreviewShows = ({ steps }: Plan) => steps.find(({ run }) => run === "pulumi preview")?.why;

  /** What the engine would do, as `OPERATION KIND NAME`. */
  async function previewed(): Promise<string[]> {
    const { exitCode, all, stdout } = await pulumi("preview", "--json");
    expect(exitCode, all).toBe(0);
    const { steps } = JSON.parse(stdout) as { steps: { op: string; urn: string }[] };
    return steps
      .filter(({ op, urn }) => op !== "same" && !urn.includes("pulumi:pulumi:Stack"))
      .map(({ op, urn }) => `${op} ${urn.split("::").slice(-2).join(" ").replace(/^.*:/, "")}`)
      .sort();
  }

  async function expectFollowed(args: string[] = [], input?: string): Promise<void> {
    const { exitCode, stdout, stderr } = await rotate(NAMESPACE, ["check", ...args], input);
    expect(exitCode, stdout + stderr).toBe(0);
    expect(stdout).toContain("everything has followed");
  }

  test("a changed password, as `homecloud rotate` lists it, updates in place; the old one is out, the images are there", async () => {
    const { outputs } = await deployed();
    const uid = await kubectl("-n", NAMESPACE, "get", "deployment", "registry", "-o", "jsonpath={.metadata.uid}");
    const plan = await planOf(NAMESPACE, "password");
    expect(plan.steps[0]?.run).toBe(`pulumi stack select ${STACK}`);
    expect(plan.steps[1]?.run).toBe("pulumi config set --secret registryPassword");
    await pulumi("config", "set", "--secret", "registryPassword", "changed, and with a space");
    // It was generated until now.
    expect(await previewed()).toEqual([
      "delete RandomPassword registry-password-writer",
      "update Deployment registry",
      "update Secret registry-client",
      "update Secret registry-users",
    ]);
    expect(whatPreviewShows(plan)).toBe(
      "~ Secrets registry-users and registry-client, ~ Deployment registry; nothing replaced, and nothing deleted but the RandomPassword registry-password-writer, where it was generated until now",
    );
    const summary = await up();
    console.log(summary);
    expect(summary).not.toMatch(/replaced/);
    expect(await kubectl("-n", NAMESPACE, "get", "deployment", "registry", "-o", "jsonpath={.metadata.uid}")).toBe(uid);
    const stack = await deployed();
    await answers(stack);
    expect(stack.outputs.registryPassword).toBe("changed, and with a space");
    expect(
      (await new Skopeo(stack, { name: outputs.registryUser, password: outputs.registryPassword }).pull("kept/app:1.0"))
        .exitCode,
    ).not.toBe(0);
    expect(await pulledDigest((await new Skopeo(stack).pull("kept/app:1.0")).folder)).toBe(image.digest);
    await expectFollowed(["--former"], outputs.registryPassword);
  });

  test("a changed size setting is no failed update", async () => {
    await pulumi("config", "set", "--path", "registry.storage", "300Mi");
    expect(await up()).not.toMatch(/replaced/);
  });

  test("destroy keeps the volume, and the next up finds the images in it", async () => {
    const destroyed = await pulumi("destroy", "--yes", "--skip-preview");
    expect(destroyed.exitCode, destroyed.all).toBe(0);
    expect(await kubectl("-n", NAMESPACE, "get", "deployments,services,secrets", "-o", "name")).toBe("");
    expect(await kubectl("-n", NAMESPACE, "get", "pvc", "-o", "name")).toBe("persistentvolumeclaim/registry-data");
    console.log(await up());
    await registryPod(NAMESPACE);
    const again = await deployed();
    await answers(again);
    const { folder: pulled, exitCode, stderr } = await new Skopeo(again).pull("kept/app:1.0");
    expect(exitCode, stderr).toBe(0);
    expect(await pulledDigest(pulled)).toBe(image.digest);
    const preview = await pulumi("preview", "--expect-no-changes");
    expect(preview.exitCode, preview.all).toBe(0);
  });

  test.each([
    [
      "a password that is empty",
      { "homecloud:registryPassword": "" },
      /registryPassword: .*allowed: a password that is not empty/,
    ],
    ["a password over 72 bytes", { "homecloud:registryPassword": "x".repeat(73) }, /72 bytes/],
    ["a user name with ':'", { "homecloud:registryUser": "a:b" }, /registryUser: "a:b" is not allowed/],
    [
      "a size that is no quantity",
      { "homecloud:registry": { storage: "plenty" } },
      /registry\.storage: "plenty" is not allowed/,
    ],
    [
      "Let's Encrypt for .local",
      {
        "homecloud:domain": "homelab.local",
        "homecloud:access": { mode: "ingress" },
        "homecloud:tls": { mode: "cluster-issuer", issuer: "letsencrypt" },
      },
      /cannot issue for registry\.homelab\.local.*DNS-01.*private-ca/,
    ],
    ["an unknown key", { "homecloud:registrySize": "30Gi" }, /registrySize: there is no such setting/],
    [
      "another stack's namespace",
      { "homecloud:registry": { namespace: "registry" } },
      /registry\.namespace: "registry" belongs to stack local/,
    ],
    [
      "a pull user that is not the next one",
      { "homecloud:registry": { ...SETTINGS["homecloud:registry"], pullUserGeneration: 3 } },
      /registry\.pullUserGeneration: 3 is not allowed; allowed: 1, which the cluster has, or 2/,
    ],
    [
      "a CA that is not the next one",
      { "homecloud:tls": { mode: "private-ca", generation: 3 } },
      /tls\.generation: 3 is not allowed; allowed: 1, which the cluster has, or 2/,
    ],
    [
      "a missing cluster",
      { "homecloud:kubeconfig": "/nowhere/kubeconfig" },
      /kubeconfig: \/nowhere\/kubeconfig cannot be read/,
    ],
    ["a context that is not there", { "homecloud:kubeContext": "elsewhere" }, /kubeContext: "elsewhere" is not in/],
  ])("%s is a readable error before the first resource", async (_, config, message) => {
    const saved = await readFile(join(folder, `Pulumi.${STACK}.yaml`), "utf8");
    await configure({ ...SETTINGS, ...config });
    const { exitCode, all } = await pulumi("preview");
    await writeFile(join(folder, `Pulumi.${STACK}.yaml`), saved);
    expect(exitCode).not.toBe(0);
    expect(all).toMatch(message);
    expect(all).not.toMatch(/ at .*\.ts:\d+|node:internal/);
    expect(all).not.toMatch(/kubernetes:core\/v1/);
  });

  test.each([
    ["puller", ["create RandomPassword registry-password-puller-2", "update Deployment registry"]],
    ["ca", ["update Deployment registry", "update Secret registry-tls"]],
  ])(
    "a new %s, as `homecloud rotate` lists it: nothing is replaced but keys and certificates, and all have followed",
    async (what, some) => {
      const plan = await planOf(NAMESPACE, what);
      const [, , path = "", value = ""] =
        /^(pulumi config set --path) (\S+) (\S+)$/.exec(plan.steps[1]?.run ?? "") ?? [];
      await pulumi("config", "set", "--path", path, value);
      const changes = await previewed();
      console.log(changes.join("\n"));
      expect(changes).toEqual(expect.arrayContaining(some));
      const lost = changes.filter((change) => /^(delete|.*replace)/.test(change));
      expect(
        lost.filter((change) => !/ (PrivateKey|CertRequest|SelfSignedCert|LocallySignedCert) /.test(change)),
      ).toEqual([]);
      console.log(await up());
      await answers(await deployed());
      await expectFollowed();
    },
  );
});

interface Manifest {
  kind: string;
  metadata: { name: string; namespace?: string; annotations?: Record<string, string> };
  [field: string]: unknown;
}

/** The lines that count what has changed. */
function changes(all: string): string {
  return all
    .split("\n")
    .filter(
      (line) =>
        /^\s+([+~-]|\+-|\d+) ?\d* ?(created|updated|deleted|replaced|unchanged)/.test(line) || /Duration/.test(line),
    )
    .join("\n");
}

/** An object without what is generated: secrets, certificates, the checksum over them, and what speaks to the engine only. */
function comparable(manifest: Manifest): Manifest {
  const { stringData, data, ...rest } = manifest;
  const content = manifest.kind === "Secret" ? { keys: Object.keys(clear(stringData ?? data)).sort() } : { data };
  const text = JSON.stringify({ ...rest, ...content }, (key, value) => {
    if (key === "homecloud/checksum" || key === "ca.crt") return "";
    if (key === "annotations" && Object.keys(value).every((name) => name.startsWith("pulumi.com/"))) return undefined;
    return value;
  });
  return JSON.parse(text);
}

/** The engine exports a secret as one text, in the clear where it is asked to. */
function clear(value: unknown): object {
  const { plaintext } = value as { plaintext?: string };
  return plaintext === undefined ? (value as object) : JSON.parse(plaintext);
}
