import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { RegistryUser } from "../../components/registry/htpasswd.ts";
import type { TrustedNode } from "../../config/settings.ts";
import { PULLER } from "../integration/pod.ts";
import type { TestNode } from "../nodes/fleet.ts";
import { Homelab, type Program } from "../nodes/homelab.ts";
import { type NextCa, nextCa } from "../nodes/private-registry.ts";
import { describePulls, Pullers } from "../nodes/pullers.ts";
import type { Run } from "../nodes/small-engine.ts";
import { nodeTools } from "../tools.ts";

/** Whatever is changed, no pull of a containerd that runs fails, on any node: all of them pull all the time. */
let homelab: Homelab;
let pullers: Pullers;
/** The program as it was run last. */
let program: Program = {};
let pulled = 0;

const MEMBERS = ["agent-1", "agent-2", "server-1", "server-2"];
/** A machine that is none of the stack's at first. */
const SPARE = "spare";

beforeAll(async () => {
  homelab = await Homelab.start(await nodeTools(), [
    { name: "agent-1", role: "agent" },
    { name: "agent-2", role: "agent", shell: "busybox" },
    { name: "server-1", role: "server" },
    { name: "server-2", role: "server", distribution: "rke2" },
    { name: SPARE, role: "agent" },
  ]);
  // As slow as a small computer is.
  for (const name of ["agent-2", "server-1"]) await homelab.node(name).startDelay(2500);
  await up({ nodes: MEMBERS });
  pullers = await Pullers.start(
    MEMBERS.map((name) => homelab.node(name)),
    homelab.image,
  );
});
/** Nothing may happen between two tests that no test looks at. */
afterEach(async () => {
  await expectPulls();
});
afterAll(async () => {
  console.log(`${pulled} pulls, and none failed but where the test saw to it`);
  await pullers?.stop();
  await homelab?.stop();
});

/** `pulumi up` of a program that differs from the last one in this. */
async function up(changes: Program): Promise<Run[]> {
  program = { ...program, ...changes };
  const runs = await homelab.up(program);
  for (const { node, ok, output } of runs) expect(ok, `${node}: ${output}`).toBe(true);
  return runs;
}

/** What became of each node: `agent-1 restarted`. */
const words = (runs: Run[]) =>
  runs.map(({ node, action, stdout }) => `${node} ${action} ${stdout.split(" ").slice(1).join(" ")}`.trimEnd());
const all = (word: string, names = MEMBERS) => names.map((name) => `${name} ${word}`);

const pid = async (node: TestNode) =>
  (await node.exec(`systemctl show -p MainPID --value ${node.service}`)).stdout.trim();
const pids = () => Promise.all(homelab.fleet.nodes.map(pid));
const fileOf = ({ distribution }: TestNode) => `/etc/rancher/${distribution}/registries.yaml`;
const header = async (node: TestNode) => (await node.readFile(fileOf(node))).split("\n")[0];

/** Nothing that has begun since the last look has failed, and every node pulls now. */
async function expectPulls(when = ""): Promise<void> {
  const pulls = await pullers.take(3);
  if (when) console.log(`${when}: ${describePulls(pulls)}`);
  for (const [node, { ok, failed }] of pulls) {
    expect(failed, `${node} ${when}`).toEqual([]);
    expect(ok, `${node} ${when}`).toBeGreaterThan(0);
    pulled += ok;
  }
}

/** The registry's own pod is replaced: who asks meanwhile finds nobody, and is told nothing else. */
async function whileRegistryRestarts(restart: () => Promise<void>): Promise<void> {
  const before = await pullers.take();
  for (const [node, { failed }] of before) expect(failed, `${node}, before the registry's pod is replaced`).toEqual([]);
  await restart();
  const nobody = /connect: connection refused|connection reset by peer|: EOF|50[234] /;
  for (const [node, { failed }] of await pullers.take())
    expect(
      failed.filter((output) => !nobody.test(output)),
      node,
    ).toEqual([]);
}

function user(name: string): RegistryUser {
  return { name, password: randomBytes(12).toString("base64"), salt: randomBytes(16).toString("base64") };
}

const second = user("puller-2");
const third = user("puller-3");
let ca2: NextCa;
let ca3: NextCa;
beforeAll(async () => {
  ca2 = await nextCa(homelab.registry.ca, "homecloud test CA 2");
  ca3 = await nextCa(ca2, "homecloud test CA 3");
});

test("a changed password: the registry has both users until the last node is proven", async () => {
  const { registry } = homelab;
  await whileRegistryRestarts(() => registry.letIn(PULLER, second));
  await expectPulls("the registry has both users");
  expect(words(await up({ login: second }))).toEqual(all("update restarted"));
  await expectPulls("the nodes got the new login");
  await whileRegistryRestarts(() => registry.letIn(second));
  await expectPulls("the former user is gone");
});

describe("a changed CA", () => {
  test("the registry has a certificate of the new one, which the former one vouches for: nodes go on", async () => {
    await whileRegistryRestarts(() => homelab.registry.serve(ca2, ca2.crossSigned));
    await expectPulls("the nodes know the former CA alone");
  });

  test("the nodes are told, and none is restarted", async () => {
    const before = await pids();
    expect(words(await up({ ca: ca2.certPem }))).toEqual(all("update not restarted"));
    expect(await pids()).toEqual(before);
    await expectPulls("the nodes got the new CA");
  });

  test("the former one is needed no more", async () => {
    await whileRegistryRestarts(() => homelab.registry.serve(ca2));
    await expectPulls("the certificate alone is served");
    expect(words(await up({}))).toEqual(all("same"));
  });

  test("without what leads to the former one, nodes that are not told yet would fail: the test sees that", async () => {
    const stranger = await nextCa(ca2, "homecloud test CA 2b");
    await homelab.registry.serve(stranger);
    const pulls = await pullers.take(2);
    for (const { failed } of pulls.values()) expect(failed.at(-1)).toContain("x509");
    await homelab.registry.serve(ca2);
    await pullers.take();
  });
});

test("password and CA at once", async () => {
  const { registry } = homelab;
  await whileRegistryRestarts(async () => {
    await registry.letIn(second, third);
    await registry.serve(ca3, ca3.crossSigned);
  });
  await expectPulls("the registry has both users and the new certificate");
  expect(words(await up({ login: third, ca: ca3.certPem }))).toEqual(all("update restarted"));
  await expectPulls("the nodes got both");
  await whileRegistryRestarts(async () => {
    await registry.letIn(third);
    await registry.serve(ca3);
  });
  await expectPulls("what was before is gone");
});

test("a node that cannot be told in the middle of it: all go on with the former password, and the next up ends it", async () => {
  const fourth = user("puller-4");
  const unreachable = homelab.node("agent-2");
  await whileRegistryRestarts(() => homelab.registry.letIn(third, fourth));
  await unreachable.exec("systemctl stop ssh");
  const runs = await homelab.up({ ...program, login: fourth });
  await unreachable.exec("systemctl start ssh");
  expect(runs.map(({ node, action, ok }) => `${node} ${action} ${ok}`)).toEqual([
    "agent-1 update true",
    "agent-2 update false",
    "server-1 skipped false",
    "server-2 skipped false",
  ]);
  await expectPulls("one node has the new login, three the former one");
  expect(words(await up({ login: fourth }))).toEqual(["agent-1 same", ...all("update restarted", MEMBERS.slice(1))]);
  await expectPulls("all nodes got the new login");
  await whileRegistryRestarts(() => homelab.registry.letIn(fourth));
  await expectPulls("the former user is gone, at last");
});

describe("nodes come and go", () => {
  let before: string[];

  /** Only these nodes' services were started anew. */
  async function expectRestarted(...names: string[]): Promise<void> {
    const now = await pids();
    const restarted = homelab.fleet.nodes.filter((_, index) => now[index] !== before[index]);
    expect(restarted.map(({ name }) => name)).toEqual(names);
    before = now;
  }

  beforeAll(async () => {
    before = await pids();
  });

  test("one is added", async () => {
    const runs = await up({ nodes: [...MEMBERS, SPARE] });
    expect(words(runs).filter((word) => !word.endsWith(" same"))).toEqual([`${SPARE} create restarted`]);
    await expectRestarted(SPARE);
    expect((await homelab.node(SPARE).pull(homelab.image)).ok).toBe(true);
  });

  test("one is removed", async () => {
    const spare = homelab.node(SPARE);
    const starts = async () => (await spare.journal()).match(/^Starting /gm)?.length ?? 0;
    const startsBefore = await starts();
    const runs = await up({ nodes: MEMBERS });
    expect(words(runs).filter((word) => !word.endsWith(" same"))).toEqual([`${SPARE} delete removed`]);
    await expectRestarted(SPARE);
    expect(await starts()).toBe(startsBefore + 1);
    expect((await spare.exec("ls /etc/rancher/k3s")).stdout).toBe("");
    expect((await spare.pull(homelab.image)).output).toContain("x509");
  });

  test("another address of the same machine: told there, and nothing is written", async () => {
    const node = homelab.node("agent-2");
    const host = node.address.replace(/\d+$/, "200");
    await node.exec(`ip address add ${host}/24 dev eth0`);
    const written = await node.exec(`stat -c %y ${fileOf(node)}`);
    const runs = await up({ changes: { "agent-2": { host } } });
    expect(words(runs)).toContain("agent-2 update unchanged");
    expect((await node.exec(`stat -c %y ${fileOf(node)}`)).stdout).toBe(written.stdout);
    await expectRestarted();
  });

  test("another machine under the same name: told; the former one keeps what it has", async () => {
    const spare = homelab.node(SPARE);
    const { address: host, hostKey } = spare;
    const runs = await up({ changes: { "agent-2": { host, hostKey, user: spare.user } } });
    expect(words(runs)).toContain("agent-2 update restarted");
    await expectRestarted(SPARE);
    expect((await spare.pull(homelab.image)).ok).toBe(true);
    expect(await header(homelab.node("agent-2"))).toContain("node agent-2:");
    expect(words(await up({ changes: {} }))).toContain("agent-2 update unchanged");
    await expectRestarted();
  });

  test("another name for the same machine: nothing restarts, and the file stays", async () => {
    const named = (name: string): Record<string, Partial<TrustedNode>> => ({ "agent-2": { name } });
    const runs = await up({ changes: named("worker-2") });
    expect(words(runs).filter((word) => !word.endsWith(" same"))).toEqual([
      "worker-2 create not restarted",
      "agent-2 delete left alone",
    ]);
    expect(await header(homelab.node("agent-2"))).toContain("node worker-2:");
    await expectRestarted();
    await up({ changes: {} });
    await expectRestarted();
  });

  test("two machines swap their names", async () => {
    const [one, two] = [homelab.node("agent-1"), homelab.node("agent-2")];
    const at = ({ address: host, hostKey }: TestNode) => ({ host, hostKey });
    const runs = await up({ changes: { "agent-1": at(two), "agent-2": at(one) } });
    expect(words(runs)).toEqual(expect.arrayContaining(all("update not restarted", ["agent-1", "agent-2"])));
    expect([await header(one), await header(two)]).toEqual([
      expect.stringContaining("node agent-2:"),
      expect.stringContaining("node agent-1:"),
    ]);
    await up({ changes: {} });
    await expectRestarted();
  });
});
