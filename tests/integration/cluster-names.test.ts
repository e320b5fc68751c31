import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { renderRewrites } from "../../components/cluster-names.ts";
import { prepareTools } from "../../lab/lab.ts";
import { freePort } from "../ports.ts";

const ingress = "10.43.7.7";
const ingress6 = "fd00:43::7";
const service = "traefik.kube-system";

const rewrites = ["registry.home.lab", "localstack.home.lab", "s3.localstack.home.lab", "*.s3.localstack.home.lab"].map(
  (host) => ({ host, service }),
);

let port: number;
let stop: (() => Promise<void>) | undefined;

/** The order and plugins of K3s's Corefile, with `hosts` where K3s asks the cluster. */
function corefile(override: string): string {
  return `.:${port} {
    bind 127.0.0.1
    errors
    hosts {
      ${ingress} traefik.kube-system.svc.cluster.local
      ${ingress6} traefik.kube-system.svc.cluster.local
      10.43.9.9 bucket.s3.localstack.home.lab.default.svc.cluster.local
      192.168.1.9 nas.home.lab bucket.s3xlocalstack.home.lab bucket.s3.localstack.home.lab.example
    }
    cache 30
    loadbalance
    import ${override}
  }
`;
}

beforeAll(async () => {
  const { bin, env } = await prepareTools((line) => console.error(line), ["coredns"]);
  port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), "cluster-names-"));
  const override = join(folder, "homecloud-dev.override");
  await writeFile(override, renderRewrites({ rewrites }));
  await writeFile(join(folder, "Corefile"), corefile(override));
  const coredns = execa(bin("coredns"), ["-conf", join(folder, "Corefile")], { env, all: true, reject: false });
  stop = async () => {
    coredns.kill();
    await coredns;
    await rm(folder, { recursive: true });
  };
  await vi.waitFor(() => ask("nas.home.lab", "A"), { timeout: 20_000 });
});

afterAll(() => stop?.());

describe("pods that ask CoreDNS", () => {
  test.each([
    "registry.home.lab",
    "localstack.home.lab",
    "s3.localstack.home.lab",
    "bucket.s3.localstack.home.lab",
    "my.bucket-1.s3.localstack.home.lab",
    "xn--bcher-kva.s3.localstack.home.lab",
  ])("get the ingress's addresses for %s, under the name that they asked for", async (name) => {
    for (const [type, data] of [
      ["A", ingress],
      ["AAAA", ingress6],
    ] as const) {
      // glibc compares both: it would drop an answer under the Service's name.
      expect(await ask(name, type)).toEqual({ code: 0, question: name, answers: [{ name, type, data }] });
    }
  });

  test("in any case, which the question keeps", async () => {
    const { question, answers } = await ask("Bucket.S3.LocalStack.Home.Lab", "A");
    expect(question).toBe("Bucket.S3.LocalStack.Home.Lab");
    expect(answers.map(({ name, data }) => [name.toLowerCase(), data])).toEqual([
      ["bucket.s3.localstack.home.lab", ingress],
    ]);
  });

  test("a second time too, out of the cache", async () => {
    const first = await ask("twice.s3.localstack.home.lab", "A");
    expect(await ask("twice.s3.localstack.home.lab", "A")).toEqual(first);
    expect(await ask("another.s3.localstack.home.lab", "A")).toMatchObject({
      answers: [{ name: "another.s3.localstack.home.lab" }],
    });
  });

  test.each([
    ["a neighbour", "nas.home.lab"],
    ["a name in which another letter stands for the dot", "bucket.s3xlocalstack.home.lab"],
    ["a name that only begins like a bucket's", "bucket.s3.localstack.home.lab.example"],
  ])("find %s where it is", async (_, name) => {
    expect((await ask(name, "A")).answers).toMatchObject([{ name, data: "192.168.1.9" }]);
  });

  test("find what a search domain is appended to where it is", async () => {
    const name = "bucket.s3.localstack.home.lab.default.svc.cluster.local";
    expect((await ask(name, "A")).answers).toMatchObject([{ name, data: "10.43.9.9" }]);
  });

  test.each(["other.home.lab", "bucket.localstack.home.lab", "xs3.localstack.home.lab"])(
    "find nothing for %s, which is not ours",
    async (name) => {
      expect((await ask(name, "A")).answers).toEqual([]);
    },
  );
});

interface Reply {
  code: number;
  question: string;
  answers: { name: string; type: string; data: string }[];
}

const TYPES = { A: 1, AAAA: 28 } as const;

/** Asks as a resolver does. Node's own takes an answer under any name. */
async function ask(name: string, type: keyof typeof TYPES): Promise<Reply> {
  const labels = name.split(".").flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]);
  const head = Buffer.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  const socket = createSocket("udp4");
  try {
    socket.send(Buffer.concat([head, ...labels, Buffer.from([0, 0, TYPES[type], 0, 1])]), port, "127.0.0.1");
    const [message] = await once(socket, "message", { signal: AbortSignal.timeout(2_000) });
    return parse(message as Buffer);
  } finally {
    socket.close();
  }
}

/** Source: https://www.rfc-editor.org/rfc/rfc1035#section-4 */
function parse(message: Buffer): Reply {
  let [question, at] = readName(message, 12);
  at += 4;
  const answers: Reply["answers"] = [];
  for (let count = message.readUInt16BE(6); count > 0; count--) {
    const [name, end] = readName(message, at);
    const type = message.readUInt16BE(end);
    const data = message.subarray(end + 10, end + 10 + message.readUInt16BE(end + 8));
    answers.push({ name, type: type === TYPES.A ? "A" : "AAAA", data: address(data) });
    at = end + 10 + data.length;
  }
  return { code: message.readUInt8(3) & 15, question, answers };
}

function readName(message: Buffer, start: number): [name: string, end: number] {
  const labels: string[] = [];
  let at = start;
  for (let length = message.readUInt8(at); length > 0; length = message.readUInt8(at)) {
    if (length >= 0xc0) {
      const [rest] = readName(message, message.readUInt16BE(at) & 0x3fff);
      return [[...labels, rest].join("."), at + 2];
    }
    labels.push(message.toString("latin1", at + 1, at + 1 + length));
    at += length + 1;
  }
  return [labels.join("."), at + 1];
}

function address(data: Buffer): string {
  if (data.length === 4) return data.join(".");
  const groups = data.toString("hex").match(/.{4}/g) ?? [];
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}
