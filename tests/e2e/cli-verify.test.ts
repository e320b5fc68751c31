import { mkdtemp, readFile, rename } from "node:fs/promises";
import { Agent } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DynamoDBClient, ListTablesCommand } from "@aws-sdk/client-dynamodb";
import { CreateBucketCommand, ListBucketsCommand, S3Client } from "@aws-sdk/client-s3";
import { ListTopicsCommand, SNSClient } from "@aws-sdk/client-sns";
import { CreateQueueCommand, ListQueuesCommand, SQSClient } from "@aws-sdk/client-sqs";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, onTestFailed, test } from "vitest";
import { PROJECT } from "../../config/project.ts";
import type { LocalOutputs } from "../../lab/deploy/deploy.ts";
import { applyStack } from "../../lab/deploy/with-render.ts";
import { trustRegistry } from "../../lab/lab.ts";
import { inState } from "../../lab/paths.ts";
import { makeCaCertificate, makeCertificate, makeKey } from "../../render/certificates.ts";
import { HOMECLOUD } from "../integration/cluster-stand-in.ts";
import { describeWith, isOnPath } from "../optional.ts";
import { apply, endPods, inRegistry, kubectl, lab, removeNamespaces, until } from "./cluster.ts";
import { ociImage } from "./images.ts";

const PORTS = { registry: 30890, page: 30891, localstack: 30892 };
const NAMESPACE = { registry: "registry-verify", page: "registry-ui-verify", localstack: "localstack-verify" };
/** Namespace that gets the pull-only user's login. */
const APPS = "e2e-verify-apps";

/** What a run that was killed long ago has left. */
const KILLED = "homecloud-verify-1700000000-0badcafe";

const keepsData = isOnPath("localstack-persist.tar");
const hasPage = isOnPath("docker-registry-ui.tar");

let outputs: LocalOutputs;
/** What the deployment was made with: passwords and keys. */
let generatedFile: string;

beforeAll(async () => {
  await apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: APPS } });
  outputs = await deploy();
  await reached(Object.values(PORTS).filter((port) => hasPage || port !== PORTS.page));
});
afterAll(async () => {
  await removeNamespaces(...Object.values(NAMESPACE), APPS);
});

/** A whole deployment: registry, LocalStack in the edition that there is, and the page where there is its image. */
async function deploy(): Promise<LocalOutputs> {
  generatedFile = join(await mkdtemp(join(tmpdir(), "homecloud-e2e-")), "generated.json");
  const small = { reserve: "64Mi", keepFree: "64Mi", keepDataOnDestroy: false };
  // Other tests' pods may be there too, and this one's are restarted often.
  const little = { requests: { cpu: "10m" } };
  const values = {
    access: { mode: "node-port", port: PORTS.registry },
    registry: {
      ...{ namespace: NAMESPACE.registry, storage: "1Gi", localRegistryHosting: false, pullSecretNamespaces: [APPS] },
      ...{ resources: { registry: little, gate: little, quota: little }, ...small },
    },
    registryUi: { enabled: hasPage, namespace: NAMESPACE.page, port: PORTS.page },
    localstack: {
      ...{ namespace: NAMESPACE.localstack, port: PORTS.localstack, storage: "512Mi", lambda: { mode: "none" } },
      ...{ edition: keepsData ? "community" : "ephemeral", resources: { localstack: little, gate: little }, ...small },
    },
  };
  const entries = Object.entries(values).map(([key, value]) => [`${PROJECT}:${key}`, JSON.stringify(value)]);
  const raw = { project: PROJECT, stack: "verify", values: Object.fromEntries(entries), secretKeys: [] };
  const made = await applyStack(lab, raw, generatedFile);
  await trustRegistry(made.registryHost, { server: made.registryUrl, ca: made.caCertificate });
  return made;
}

interface Report {
  passed: boolean;
  criteria: { id: string; passed: boolean | null; measured: string }[];
}

/** `homecloud verify` as a script runs it. */
async function verify(...args: string[]) {
  const ended = await execa(HOMECLOUD, ["verify", "--json", "--namespace", NAMESPACE.registry, ...args], {
    env: { KUBECONFIG: lab.kubeconfig },
    reject: false,
  });
  const report = JSON.parse(ended.stdout || '{ "criteria": [] }') as Report;
  const of = (passed: boolean | null) => report.criteria.filter((each) => each.passed === passed).map(({ id }) => id);
  const measured = (id: string) => report.criteria.find((each) => each.id === id)?.measured;
  // What a criterion measured says why it failed; an assertion on the names alone would not.
  onTestFailed(() => console.log(args.join(" "), report.criteria, ended.stderr));
  return { ...ended, passed: of(true), failed: of(false), skipped: of(null), measured, report };
}

/** All that `verify` could leave somewhere. Events go by themselves. */
async function inventory() {
  const { AWS_ENDPOINT_URL: endpoint = "", AWS_REGION: region = "" } = outputs.awsEnvironment;
  const credentials = { accessKeyId: "test", secretAccessKey: "test" };
  const requestHandler = { httpsAgent: new Agent({ ca: outputs.caCertificate }) };
  const options = { endpoint, region, credentials, requestHandler };
  const { Buckets = [] } = await new S3Client(options).send(new ListBucketsCommand());
  const { QueueUrls = [] } = await new SQSClient(options).send(new ListQueuesCommand());
  const { Topics = [] } = await new SNSClient(options).send(new ListTopicsCommand());
  const { TableNames = [] } = await new DynamoDBClient(options).send(new ListTablesCommand());
  const namespaces = await kubectl("get", "namespaces", "-o", "name");
  const catalog = await execa(HOMECLOUD, ["ls", "--json", "--namespace", NAMESPACE.registry], {
    env: { KUBECONFIG: lab.kubeconfig },
  });
  const blobs = await inPod("find $VOLUME/docker -name data -o -name link -o -name _uploads | sort");
  return {
    aws: [...Buckets.map(({ Name }) => Name), ...QueueUrls, ...Topics.map(({ TopicArn }) => TopicArn), ...TableNames],
    // Other tests come and go beside this one.
    namespaces: namespaces.split("\n").filter((name) => name.includes("homecloud-verify-")),
    repositories: JSON.parse(catalog.stdout) as string[],
    blobs,
  };
}

const inPod = (script: string) => inRegistry(NAMESPACE.registry, "sh", "-c", script);

const usedBytes = async () => Number(await inPod("du -sk $VOLUME | cut -f1")) * 1024;

/** Something of everything, of a run that ended long ago without removing it. */
async function leaveSomething(): Promise<void> {
  const { AWS_ENDPOINT_URL: endpoint = "", AWS_REGION: region = "" } = outputs.awsEnvironment;
  const credentials = { accessKeyId: "test", secretAccessKey: "test" };
  const requestHandler = { httpsAgent: new Agent({ ca: outputs.caCertificate }) };
  const options = { endpoint, region, credentials, requestHandler };
  await new S3Client(options).send(new CreateBucketCommand({ Bucket: KILLED }));
  await new SQSClient(options).send(new CreateQueueCommand({ QueueName: KILLED }));
  await kubectl("create", "namespace", KILLED);
  const image = `homecloud-verify/${KILLED.replace("homecloud-verify-", "")}:small`;
  const { folder } = await ociImage();
  await execa(HOMECLOUD, ["push", folder, image, "--namespace", NAMESPACE.registry], {
    env: { KUBECONFIG: lab.kubeconfig },
  });
  await inPod("touch -d '2001-01-01 00:00' $VOLUME/docker/registry/v2/repositories/homecloud-verify/*");
}

async function rolledOut(name: string, namespace: string): Promise<void> {
  await kubectl("-n", namespace, "rollout", "status", `deployment/${name}`, "--timeout=120s");
}

async function restart(name: string, namespace: string): Promise<void> {
  await kubectl("-n", namespace, "rollout", "restart", `deployment/${name}`);
  await rolledOut(name, namespace);
}

interface Target {
  /** Deployment whose pod reads the object. */
  name: string;
  namespace: string;
  kind: string;
  object: string;
}

/** Puts back the data that the last fault changed. The pod reads it when it is restarted, for the next fault or by the test. */
let putBack = async (): Promise<void> => {};

/** Changes the data of an object of the live deployment, and restarts its pod. The fault before is gone with it. */
async function breakData(
  { name, namespace, kind, object }: Target,
  change: (data: Record<string, string>) => Record<string, string>,
): Promise<void> {
  await putBack();
  const live = ["-n", namespace, "get", kind, object, "-o", "json"];
  const { data } = JSON.parse(await kubectl(...live)) as { data: Record<string, string> };
  const patch = async (changed: Record<string, string>) => {
    await kubectl("-n", namespace, "patch", kind, object, "--type=merge", "-p", JSON.stringify({ data: changed }));
  };
  await patch(change(data));
  putBack = () => patch(data);
  await restart(name, namespace);
  await reached();
}

/** Until the node's rules lead to the pods again: kube-proxy follows a new pod a second after it is ready. */
async function reached(ports = [PORTS.registry, ...(hasPage ? [PORTS.page] : [])]): Promise<void> {
  const connects = (port: number) =>
    execa("curl", ["-sk", "-m", "10", "-o", "/dev/null", `https://127.0.0.1:${port}/`]);
  await until(async () => Boolean(await Promise.all(ports.map(connects))), 30, "every port answers");
}

/** The registry's gate with another configuration. */
const breakGate = (change: (conf: string) => string) =>
  breakData(
    { name: "registry", namespace: NAMESPACE.registry, kind: "configmap", object: "registry-files" },
    ({ "gate.conf": conf = "" }) => {
      expect(change(conf), "the configuration has another form now").not.toBe(conf);
      return { "gate.conf": change(conf) };
    },
  );

/** The registry with a certificate that this CA has signed. */
async function breakCertificate(ca: { keyPem: string; certPem: string }, validityHours: number): Promise<void> {
  const keyPem = await makeKey();
  const request = { keyPem, commonName: "registry", dnsNames: [], ipAddresses: ["127.0.0.1"], validityHours };
  const certificate = await makeCertificate(request, ca);
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  await breakData({ name: "registry", namespace: NAMESPACE.registry, kind: "secret", object: "registry-tls" }, () => ({
    "tls.crt": base64(certificate),
    "tls.key": base64(keyPem),
  }));
}

async function anotherCa(): Promise<{ keyPem: string; certPem: string }> {
  const keyPem = await makeKey();
  const request = { keyPem, commonName: "other", dnsNames: [], ipAddresses: [], validityHours: 1 };
  return { keyPem, certPem: await makeCaCertificate(request) };
}

/** The deployment's own, whose key is kept beside the state. */
async function ownCa(): Promise<{ keyPem: string; certPem: string }> {
  const generated = JSON.parse(await readFile(generatedFile, "utf8")) as Record<string, { privateKeyPem?: string }>;
  const [, key] = Object.entries(generated).find(([name]) => name.endsWith("::homecloud-ca-key")) ?? [];
  return { keyPem: key?.privateKeyPem ?? "", certPem: outputs.caCertificate };
}

/** Puts a volume of a Deployment on memory, or back on its claim. */
const patchVolume = (name: string, namespace: string, volume: object) =>
  kubectl(
    ...["-n", namespace, "patch", "deployment", name, "--type=strategic", "-p"],
    JSON.stringify({ spec: { template: { spec: { volumes: [{ name: "data", ...volume }] } } } }),
  );

const NOWHERE = { emptyDir: {}, persistentVolumeClaim: null };
const onClaim = (claimName: string) => ({ emptyDir: null, persistentVolumeClaim: { claimName } });

describe("a good deployment", () => {
  test("passes, and nothing of it is left, nor of a run that was killed", { timeout: 400_000 }, async () => {
    const before = await inventory();
    const used = await usedBytes();
    await leaveSomething();
    const { exitCode, stdout, stderr, failed, skipped, measured } = await verify("--yes");
    console.log(stdout);

    expect(exitCode, stdout + stderr).toBe(0);
    expect(failed).toEqual([]);
    const cannot = [...(hasPage ? [] : ["page"]), "lambda", ...(keepsData ? [] : ["localstack-restart"])];
    expect(skipped).toEqual(cannot);
    expect(measured("clean")).toMatch(/removed, and 3 of killed runs$/);
    await until(async () => (await inventory()).namespaces.length === 0, 30, "the namespaces are gone");
    expect(await inventory()).toEqual(before);
    // Empty folders stay, as after a garbage collection.
    expect((await usedBytes()) - used).toBeLessThan(256 * 1024);
  });

  test("for people: a table, and no restart without a yes", async () => {
    const { stdout, stderr, exitCode } = await execa(
      HOMECLOUD,
      ["verify", "--namespace", NAMESPACE.registry, "--only", "names", "login", "registry-restart"],
      { env: { KUBECONFIG: lab.kubeconfig }, stdin: "ignore" },
    );
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^login +401 .* 200 with it +401, asking for one login +pass$/m);
    expect(stdout).toMatch(/^registry-restart +not measured: needs --yes .* -$/m);
    expect(stderr).toContain("Nobody gets in without the login: 401");
  });

  test("Ctrl-C in the middle of the push: all of it goes", async () => {
    const before = await inventory();
    const used = await usedBytes();
    const child = execa(HOMECLOUD, ["verify", "--namespace", NAMESPACE.registry, "--only", "push"], {
      ...{ env: { KUBECONFIG: lab.kubeconfig }, reject: false, stdin: "ignore" },
    });
    const upload = "find $VOLUME/docker -path '*homecloud-verify*_uploads*' -name data -size +20000k";
    await until(async () => (await inPod(upload)) !== "", 60, "the upload is under way");
    child.kill("SIGINT");
    const { exitCode, stderr } = await child;

    expect(exitCode).toBe(1);
    expect(stderr).toContain("removing what was made");
    await sleep(1000);
    expect(await inventory()).toEqual(before);
    expect((await usedBytes()) - used).toBeLessThan(256 * 1024);
  });
});

describe("a broken one fails, and the criterion is named and no other", () => {
  // Each of these restarts the registry once: the next one puts right what the one before broke.
  test("a certificate of another CA", async () => {
    await breakCertificate(await anotherCa(), 1);
    const { exitCode, failed, passed, stderr } = await verify("--only", "names", "certificates", "s3");
    expect(failed).toEqual(["certificates"]);
    expect(passed).toEqual(["names", "s3", "clean"]);
    expect(exitCode).toBe(1);
    expect(stderr).toBe("homecloud: failed: certificates; what each means: docs/verify.md");
  });

  test("a certificate that has expired", async () => {
    await breakCertificate(await ownCa(), 0);
    const { failed, measured } = await verify("--only", "names", "certificates", "s3");
    expect(failed).toEqual(["certificates"]);
    expect(measured("certificates")).toBe(`127.0.0.1:${PORTS.registry}: CERT_HAS_EXPIRED`);
  });

  test("a quota that nobody asks for", async () => {
    await breakGate((conf) => conf.replaceAll(/if \(-f \S+\/(full|over)\) \{ set \$(full|over) 1; \}/g, ""));
    const { failed, passed } = await verify("--only", "login", "quota", "localstack-quota");
    expect(failed).toEqual(["quota"]);
    expect(passed).toEqual(["login", "localstack-quota", "clean"]);
  });

  test("a registry without a login", async () => {
    await breakGate((conf) =>
      conf.replace('if ($http_authorization = "") { return 401; }', "").replace("auth_request /_login;", ""),
    );
    const { failed, passed, measured } = await verify("--only", "login", "missing", "names");
    expect(failed).toEqual(["login"]);
    expect(passed).toEqual(["names", "missing", "clean"]);
    expect(measured("login")).toBe("200 without a login");
  });

  test("a pull-only user who may push", async () => {
    await breakGate((conf) =>
      conf.replace("map $remote_user $is_writer { default 0;", "map $remote_user $is_writer { default 1;"),
    );
    const { failed, passed, measured } = await verify("--only", "login", "roles", "missing");
    expect(failed).toEqual(["roles"]);
    expect(passed).toEqual(["login", "missing", "clean"]);
    expect(measured("roles")).toBe("202 to push");
  });

  test("a pull of 500 MB that takes over half a minute, and is given up then", async () => {
    await breakGate((conf) => conf.replace("client_max_body_size 0;", "client_max_body_size 0;\nlimit_rate 12m;"));
    const { failed, passed, measured } = await verify("--only", "push", "pull");
    expect(failed).toEqual(["pull"]);
    expect(passed).toEqual(["push", "clean"]);
    expect(measured("pull")).toMatch(/^only [1-4]\d\d MB in 30 s$/);
  });

  test("a registry that is scaled to 0", async () => {
    await putBack();
    const scale = (replicas: number) =>
      kubectl("-n", NAMESPACE.registry, "scale", "deployment/registry", `--replicas=${replicas}`);
    await scale(0);
    const gone = ["wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=registry", "--timeout=60s"];
    await kubectl("-n", NAMESPACE.registry, ...gone);
    try {
      const { exitCode, failed, passed, measured } = await verify("--only", "names", "push", "pull", "sqs");
      expect(failed).toEqual(["push", "pull"]);
      expect(passed).toEqual(["names", "sqs", "clean"]);
      expect(measured("pull")).toMatch(/^cannot be measured: the push failed: /);
      expect(exitCode).toBe(1);
    } finally {
      await scale(1);
      await rolledOut("registry", NAMESPACE.registry);
      await reached();
    }
  });

  test("a registry whose volume does not outlive its pod", async () => {
    await patchVolume("registry", NAMESPACE.registry, NOWHERE);
    try {
      await rolledOut("registry", NAMESPACE.registry);
      await reached();
      const { failed, passed, measured } = await verify("--yes", "--only", "quota", "registry-restart");
      expect(failed).toEqual(["registry-restart"]);
      expect(passed).toEqual(["quota", "clean"]);
      expect(measured("registry-restart")).toBe("the image is gone");
    } finally {
      await patchVolume("registry", NAMESPACE.registry, onClaim("registry-data"));
      await rolledOut("registry", NAMESPACE.registry);
      await reached();
    }
  });

  test("a node that does not trust the CA", async () => {
    const ca = join(inState("certs.d"), outputs.registryHost, "ca.crt");
    await rename(ca, `${ca}.away`);
    try {
      const { failed, passed, measured } = await verify("--only", "missing", "pod");
      expect(failed).toEqual(["pod"]);
      expect(passed).toEqual(["missing", "clean"]);
      expect(measured("pod")).toMatch(/ does not pull$/);
    } finally {
      await rename(`${ca}.away`, ca);
    }
  });

  test("pull secrets with a login that is none any more", async () => {
    const secret = ["-n", APPS, "patch", "secret", "registry-pull", "--type=merge", "-p"];
    const login = (password: string) => {
      const user = outputs.registryPullUser;
      const auth = Buffer.from(`${user}:${password}`).toString("base64");
      const auths = { [outputs.registryHost]: { username: user, password, auth } };
      return JSON.stringify({ stringData: { ".dockerconfigjson": JSON.stringify({ auths }) } });
    };
    await kubectl(...secret, login("of-yesterday"));
    try {
      const { failed, passed } = await verify("--only", "missing", "roles", "pod");
      expect(failed).toEqual(["roles", "pod"]);
      expect(passed).toEqual(["missing", "clean"]);
    } finally {
      await kubectl(...secret, login(outputs.registryPullPassword));
    }
  });

  describeWith("registry-ui", "with the web page", () => {
    test("a page that does not get to the registry", async () => {
      const { certPem: ca } = await anotherCa();
      const page = { name: "registry-ui", namespace: NAMESPACE.page, kind: "configmap", object: "registry-ui-ca" };
      await breakData(page, () => ({ "ca.crt": ca }));
      const { failed, passed, measured } = await verify("--only", "certificates", "missing", "page");
      expect(failed).toEqual(["page"]);
      expect(passed).toEqual(["certificates", "missing", "clean"]);
      expect(measured("page")).toMatch(/^50\d for the list$/);
    });
  });

  // The last ones: LocalStack takes a while to come back, and nobody waits for it any more.
  test("a LocalStack that is scaled to 0", async () => {
    await kubectl("-n", NAMESPACE.localstack, "scale", "deployment/localstack", "--replicas=0");
    await endPods(NAMESPACE.localstack);
    await kubectl("-n", NAMESPACE.localstack, "wait", "--for=delete", "pod", "--all", "--timeout=60s");
    const { failed, passed, exitCode } = await verify("--only", "names", "missing", "s3", "dynamodb");
    expect(failed).toEqual(["s3", "dynamodb"]);
    expect(passed).toEqual(["names", "missing", "clean"]);
    expect(exitCode).toBe(1);
  });

  describeWith("localstack-persist", "with the edition that keeps its data", () => {
    test("a LocalStack whose volume does not outlive its pod", { timeout: 300_000 }, async () => {
      await patchVolume("localstack", NAMESPACE.localstack, NOWHERE);
      await kubectl("-n", NAMESPACE.localstack, "scale", "deployment/localstack", "--replicas=1");
      await rolledOut("localstack", NAMESPACE.localstack);
      await reached([PORTS.localstack]);
      const { failed, passed, measured } = await verify("--yes", "--only", "sqs", "localstack-restart");
      expect(failed).toEqual(["localstack-restart"]);
      expect(passed).toEqual(["sqs", "clean"]);
      expect(measured("localstack-restart")).toBe("the object is gone");
    });
  });
});
