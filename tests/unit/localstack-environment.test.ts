import { X509Certificate } from "node:crypto";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { awsEnvironment, envFile } from "../../components/localstack/aws-environment.ts";
import { type EnvironmentOptions, localstackEnvironment, servicesOf } from "../../components/localstack/environment.ts";
import { readInitScripts } from "../../components/localstack/init-scripts.ts";
import { endpointUrl, localstackHostAndPort, s3EndpointUrl } from "../../components/localstack/urls.ts";
import type { LocalStackSettings, TlsSettings } from "../../config/settings.ts";
import { makeCaCertificate, makeCertificate, makeKey } from "../../render/certificates.ts";
import { SHAPES, type Shape, type StackConfig, settingsOf } from "./stacks.ts";

const HOME = SHAPES["ingress, private CA"];
const HTTPS: TlsSettings = { mode: "private-ca", generation: 1 };
const HTTP: TlsSettings = { mode: "none" };

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "homecloud-unit-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

function settled(config: StackConfig): { localstack: LocalStackSettings; tls: TlsSettings } {
  const { localstack, tls } = settingsOf(config);
  if (!localstack) throw new Error("there is no LocalStack");
  return { localstack, tls };
}

const awsOf = (config: StackConfig): Record<string, string> => {
  const { localstack, tls } = settled(config);
  return awsEnvironment(localstack, tls);
};

describe("URLs", () => {
  test.each<[string, number, TlsSettings, string, string]>([
    ["aws.lan", 443, HTTPS, "https://aws.lan", "https://s3.aws.lan"],
    ["aws.lan", 30566, HTTPS, "https://aws.lan:30566", "https://s3.aws.lan:30566"],
    ["localhost", 30566, HTTP, "http://localhost:30566", "http://s3.localhost:30566"],
    ["192.168.1.10", 30566, HTTPS, "https://192.168.1.10:30566", "https://192.168.1.10:30566"],
    ["fd00::10", 30566, HTTPS, "https://[fd00::10]:30566", "https://[fd00::10]:30566"],
    ["fd00::10", 443, HTTPS, "https://[fd00::10]", "https://[fd00::10]"],
  ])(
    "%s on port %i: the port where it is not the scheme's own, `s3.` before names only",
    (host, port, tls, url, s3) => {
      expect(endpointUrl({ host, port }, tls)).toBe(url);
      expect(s3EndpointUrl({ host, port }, tls)).toBe(s3);
    },
  );

  test("LocalStack puts host and port together by itself: the port is always there", () => {
    expect(localstackHostAndPort({ host: "aws.lan", port: 443 })).toBe("aws.lan:443");
    expect(localstackHostAndPort({ host: "192.168.1.10", port: 30566 })).toBe("192.168.1.10:30566");
    expect(localstackHostAndPort({ host: "fd00::10", port: 30566 })).toBe("[fd00::10]:30566");
  });
});

describe("what AWS clients read", () => {
  test("endpoints, the region by both its names, and keys that choose no account", () => {
    expect(awsOf({ ...HOME, localstack: { region: "eu-central-1" } })).toEqual({
      AWS_ENDPOINT_URL: "https://localstack.homelab.local",
      AWS_ENDPOINT_URL_S3: "https://s3.localstack.homelab.local",
      AWS_REGION: "eu-central-1",
      AWS_DEFAULT_REGION: "eu-central-1",
      AWS_ACCESS_KEY_ID: "test",
      AWS_SECRET_ACCESS_KEY: "test",
    });
  });

  test.each<[string, StackConfig]>([
    ...Object.entries(SHAPES),
    ["an IPv4 address", { access: { mode: "node-port", hosts: ["192.168.1.10"] } }],
    ["an IPv6 address", { access: { mode: "node-port", hosts: ["fd00::10"] } }],
  ])("as a file it says the same to sh and to Node, with %s", async (name, config) => {
    const environment = awsOf(config);
    const file = join(folder, `${name.replaceAll(/\W/g, "-")}.env`);
    await writeFile(file, envFile(environment));
    const show = `console.log(JSON.stringify(Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith("AWS_")))))`;
    const node = [process.execPath, "-e", show] as const;
    const options = { env: { PATH: process.env.PATH ?? "" }, extendEnv: false };

    const bySh = await execa("sh", ["-euc", `set -a; . "$0"; exec "$@"`, file, ...node], options);
    const byNode = await execa(process.execPath, [`--env-file=${file}`, "-e", show], options);
    expect(JSON.parse(bySh.stdout)).toEqual(environment);
    expect(JSON.parse(byNode.stdout)).toEqual(environment);
  });

  test.each<[string, StackConfig, string, string, string]>([
    [
      "an ingress",
      HOME,
      "https://photos.s3.localstack.homelab.local/a.jpg",
      "https://s3.localstack.homelab.local/my.photos/a.jpg",
      "https://localstack.homelab.local/",
    ],
    [
      "a port of the nodes by name",
      { access: { mode: "node-port", hosts: ["nas.lan"] } },
      "https://photos.s3.nas.lan:30566/a.jpg",
      "https://s3.nas.lan:30566/my.photos/a.jpg",
      "https://nas.lan:30566/",
    ],
    [
      "a port of the nodes by address",
      { access: { mode: "node-port", hosts: ["192.168.1.10"] } },
      "https://192.168.1.10:30566/photos/a.jpg",
      "https://192.168.1.10:30566/my.photos/a.jpg",
      "https://192.168.1.10:30566/",
    ],
  ])(
    "the SDK finds its way by it, and the certificate is for that name, with %s",
    async (_, config, bucket, dotted, queue) => {
      const { localstack } = settled(config);
      const file = join(folder, "sdk.env");
      await writeFile(file, envFile(awsOf(config)));
      const urls = await addressed(file);

      expect(urls).toEqual({ bucket, dotted, queue });
      const certificate = await certificateFor(localstack.certificateNames);
      for (const url of Object.values(urls)) {
        const { hostname } = new URL(url);
        expect(isIP(hostname) ? certificate.checkIP(hostname) : certificate.checkHost(hostname), url).toBeTruthy();
      }
    },
  );
});

/** Where the SDK for JavaScript sends what, with this file as its environment. */
async function addressed(file: string): Promise<Record<string, string>> {
  const script = `
    import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
    import { ListQueuesCommand, SQSClient } from "@aws-sdk/client-sqs";
    async function urlOf(Client, command) {
      let url;
      const handle = async ({ protocol, hostname, port, path }) => {
        url = new URL(protocol + "//" + hostname + (port ? ":" + port : "") + path).origin + path;
        throw new Error("not sent");
      };
      const client = new Client({ requestHandler: { handle }, maxAttempts: 1 });
      await client.send(command).catch((error) => { if (error.message !== "not sent") throw error; });
      return url;
    }
    console.log(JSON.stringify({
      bucket: await urlOf(S3Client, new GetObjectCommand({ Bucket: "photos", Key: "a.jpg" })),
      dotted: await urlOf(S3Client, new GetObjectCommand({ Bucket: "my.photos", Key: "a.jpg" })),
      queue: await urlOf(SQSClient, new ListQueuesCommand({})),
    }));`;
  const { stdout } = await execa(process.execPath, [`--env-file=${file}`, "--input-type=module", "-e", script], {
    cwd: fileURLToPath(new URL("../../", import.meta.url)),
    env: { PATH: process.env.PATH ?? "", HOME: folder },
    extendEnv: false,
  });
  return JSON.parse(stdout);
}

/** A certificate that carries these names. */
async function certificateFor(names: string[]): Promise<X509Certificate> {
  const nobody = { dnsNames: [], ipAddresses: [] };
  const ca = { keyPem: await makeKey(), commonName: "test CA", validityHours: 1 };
  const pem = await makeCertificate(
    {
      keyPem: await makeKey(),
      commonName: "LocalStack",
      dnsNames: names.filter((name) => !isIP(name)),
      ipAddresses: names.filter((name) => isIP(name)),
      validityHours: 1,
    },
    { keyPem: ca.keyPem, certPem: await makeCaCertificate({ ...ca, ...nobody }) },
  );
  return new X509Certificate(pem);
}

describe("init scripts", () => {
  /** A new folder with these files. */
  async function holding(files: Record<string, string>): Promise<string> {
    const scripts = await mkdtemp(join(folder, "init-"));
    for (const [name, content] of Object.entries(files)) await writeFile(join(scripts, name), content);
    return scripts;
  }

  test("are shell and Python, in the order of their names, which is that of the folder in LocalStack", async () => {
    const scripts = await holding({
      "20-queue.sh": "b",
      "10-bucket.py": "a",
      "3_x.y.sh": "c",
      "A.sh": "d",
      "a.sh": "e",
    });
    const found = readInitScripts(scripts);

    expect(Object.keys(found)).toEqual(["10-bucket.py", "20-queue.sh", "3_x.y.sh", "A.sh", "a.sh"]);
    expect(Object.values(found)).toEqual(["a", "b", "c", "d", "e"]);
  });

  test("come as they are written, whether or not they may be run here", async () => {
    const content = '#!/bin/sh\r\nset -eu\nawslocal s3 mb "s3://größe-$1"\n\n';
    const scripts = await holding({ "a.sh": content });
    await chmod(join(scripts, "a.sh"), 0o600);

    expect(readInitScripts(scripts)).toEqual({ "a.sh": content });
  });

  test("are nothing that editors, systems and people leave beside them", async () => {
    const scripts = await holding({
      ".hidden.sh": "x",
      "._a.sh": "x",
      ".DS_Store": "x",
      "README.md": "x",
      "a.sh~": "x",
      "a.sh.bak": "x",
      "data.json": "x",
      sh: "x",
    });

    expect(readInitScripts(scripts)).toEqual({});
  });

  test("are not looked for in folders, even where those have a script's name", async () => {
    const scripts = await holding({ "a.sh": "a" });
    for (const name of ["lib", "old.sh"]) {
      await mkdir(join(scripts, name));
      await writeFile(join(scripts, name, "b.sh"), "b");
    }

    expect(readInitScripts(scripts)).toEqual({ "a.sh": "a" });
  });

  test.each(["make bucket.sh", "größe.sh", "a$b.py", "a:b.sh"])(
    "%s could not be mounted, and is named",
    async (name) => {
      const scripts = await holding({ "a.sh": "a", [name]: "b" });

      expect(() => readInitScripts(scripts)).toThrow(
        `${join(scripts, name)}: allowed in its name: letters, digits, '.', '_' and '-'.`,
      );
    },
  );

  test("are none where there is no folder", () => {
    expect(readInitScripts(join(folder, "nowhere"))).toEqual({});
  });
});

describe("services", () => {
  test("what the asked-for ones need is added once", () => {
    expect(servicesOf({ services: ["s3", "iam"] })).toEqual([
      "s3",
      "iam",
      "sts",
      "logs",
      "events",
      "cloudformation",
      "s3control",
    ]);
    expect(servicesOf({ services: ["sqs", "sqs"] })).toEqual([
      "sqs",
      "iam",
      "sts",
      "logs",
      "events",
      "cloudformation",
      "s3control",
    ]);
  });
});

describe("LocalStack's environment", () => {
  /** What LocalStack is told by a stack with these settings of it. */
  function told(localstack: StackConfig, others: Partial<EnvironmentOptions> & { config?: StackConfig } = {}) {
    const { config = HOME, ...options } = others;
    return localstackEnvironment({
      settings: settled({ ...config, localstack }).localstack,
      https: true,
      privateCa: true,
      ...options,
    });
  }
  /** The program's own: what no setting of the user's may change, because the pod is built on it. */
  const USERS = {
    STRICT_SERVICE_LOADING: "0",
    SQS_ENDPOINT_STRATEGY: "domain",
    DNS_ADDRESS: "0.0.0.0",
    PERSIST_FREQUENCY: "3600",
    HOSTNAME_FROM_LAMBDA: "elsewhere",
  };

  test("URLs that it hands out are the clients' own", () => {
    expect(told({})).toMatchObject({
      LOCALSTACK_HOST: "localstack.homelab.local:443",
      USE_SSL: "1",
      SQS_ENDPOINT_STRATEGY: "path",
    });
    expect(told({}, { https: false })).toMatchObject({ USE_SSL: "0" });
    const byAddress = { access: { mode: "node-port", hosts: ["fd00::10"] } };
    expect(told({ port: 31000 }, { config: byAddress }).LOCALSTACK_HOST).toBe("[fd00::10]:31000");
  });

  test("only the services that are asked for run, and what they need", () => {
    const { SERVICES, STRICT_SERVICE_LOADING } = told({ services: ["s3", "sqs"] });

    expect(SERVICES).toBe("s3,sqs,iam,sts,logs,events,cloudformation,s3control");
    expect(STRICT_SERVICE_LOADING).toBe("1");
  });

  test("it listens where functions reach it, takes no port of root's, and tells the world nothing", () => {
    expect(told({})).toMatchObject({ GATEWAY_LISTEN: "0.0.0.0:4566", DNS_ADDRESS: "0", DISABLE_EVENTS: "1" });
  });

  test("further settings are handed on, and those with a default of ours can be changed", () => {
    const environment = { S3_SKIP_SIGNATURE_VALIDATION: "0", EAGER_SERVICE_LOADING: "0", DISABLE_EVENTS: "0" };

    expect(told({ environment })).toMatchObject(environment);
  });

  test("but none that the pod is built on", () => {
    expect(() => told({ environment: USERS })).toThrow("5 settings are wrong");
    for (const name of Object.keys(USERS))
      expect(() => told({ environment: USERS })).toThrow(`localstack.environment.${name}: the program sets it`);
  });

  test("flags for functions' containers are added to the program's own", () => {
    const flags = told({ environment: { LAMBDA_DOCKER_FLAGS: "-e STAGE=home" } }).LAMBDA_DOCKER_FLAGS;

    expect(flags).toBe(`${told({}).LAMBDA_DOCKER_FLAGS} -e STAGE=home`);
  });

  test.each<[string, StackConfig, Record<string, string | undefined>]>([
    ["community", {}, { PERSIST_FREQUENCY: "5", PERSISTENCE: "1", ACTIVATE_PRO: undefined }],
    ["pro", { localstackAuthToken: "t0ken" }, { PERSISTENCE: "1", ACTIVATE_PRO: "1", PERSIST_FREQUENCY: undefined }],
    ["ephemeral", {}, { PERSISTENCE: undefined, ACTIVATE_PRO: undefined, PERSIST_FREQUENCY: undefined }],
  ])("%s saves in its own way, and the token is nowhere in it", (edition, config, saving) => {
    const environment = told({ edition }, { config: { ...HOME, ...config } });

    for (const [name, value] of Object.entries(saving)) expect(environment[name], name).toBe(value);
    expect(JSON.stringify(environment)).not.toContain("t0ken");
    expect(environment).not.toHaveProperty("LOCALSTACK_AUTH_TOKEN");
  });

  describe("for Lambda", () => {
    const FOR_LAMBDA = ["DOCKER_HOST", "HOSTNAME_FROM_LAMBDA", "LAMBDA_DOCKER_FLAGS"];
    const ofLambda = (environment: Record<string, string>) =>
      Object.fromEntries(Object.entries(environment).filter(([name]) => FOR_LAMBDA.includes(name)));

    test("functions in the pod's Docker find LocalStack at its bridge, and the CA where SDKs look for it", () => {
      expect(ofLambda(told({}))).toEqual({
        DOCKER_HOST: "unix:///run/homecloud-docker/docker.sock",
        HOSTNAME_FROM_LAMBDA: "172.17.0.1",
        LAMBDA_DOCKER_FLAGS:
          "-e AWS_ENDPOINT_URL=http://172.17.0.1:4566 -v /etc/homecloud-ca:/etc/homecloud-ca:ro " +
          "-e NODE_EXTRA_CA_CERTS=/etc/homecloud-ca/ca.crt",
      });
    });

    test("a public certificate needs no CA, and the endpoint is plain HTTP all the same", () => {
      expect(ofLambda(told({}, { privateCa: false }))).toEqual({
        DOCKER_HOST: "unix:///run/homecloud-docker/docker.sock",
        HOSTNAME_FROM_LAMBDA: "172.17.0.1",
        LAMBDA_DOCKER_FLAGS: "-e AWS_ENDPOINT_URL=http://172.17.0.1:4566",
      });
    });

    test("the node's Docker has none of the pod's files or addresses", () => {
      expect(ofLambda(told({ lambda: { mode: "host-docker", group: 999 } }))).toEqual({
        DOCKER_HOST: "unix:///run/homecloud-docker/docker.sock",
      });
    });

    test.each<[string, StackConfig]>([
      ["no Lambda", { services: ["s3"] }],
      ["functions that do not run", { lambda: { mode: "none" } }],
    ])("there is no Docker with %s", (_, localstack) => {
      expect(ofLambda(told(localstack))).toEqual({});
    });
  });
});

test.each(Object.keys(SHAPES) as Shape[])("clients and LocalStack itself name one endpoint: %s", (shape) => {
  const { localstack, tls } = settled(SHAPES[shape]);
  const own = localstackEnvironment({ settings: localstack, https: tls.mode !== "none", privateCa: false });
  const scheme = own.USE_SSL === "1" ? "https" : "http";

  expect(new URL(`${scheme}://${own.LOCALSTACK_HOST}`).origin).toBe(awsEnvironment(localstack, tls).AWS_ENDPOINT_URL);
});
