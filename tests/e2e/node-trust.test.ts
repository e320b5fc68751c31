import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TestNode } from "../nodes/fleet.ts";
import { another, Homelab } from "../nodes/homelab.ts";
import type { Run } from "../nodes/small-engine.ts";
import { nodeTools } from "../tools.ts";

/** Three agents and three servers, one of them RKE2, one with busybox, one whose user is not root. */
let homelab: Homelab;
let nodes: TestNode[];

beforeAll(async () => {
  homelab = await Homelab.start(await nodeTools(), [
    { name: "server-1", role: "server" },
    { name: "server-2", role: "server", shell: "dash" },
    { name: "server-3", role: "server", distribution: "rke2" },
    { name: "agent-1", role: "agent" },
    { name: "agent-2", role: "agent", shell: "busybox" },
    { name: "agent-3", role: "agent", user: "homelab" },
  ]);
  nodes = homelab.fleet.nodes;
});

afterAll(async () => {
  await homelab?.stop();
});

const pid = async (node: TestNode) => (await node.exec(`systemctl show -p MainPID --value ${node.service}`)).stdout;
const pids = () => Promise.all(nodes.map(pid));
const seconds = (runs: Run[]) =>
  runs.map(({ node, began, ended }) => `${node} ${((ended - began) / 1000).toFixed(1)} s`);

async function expectAllPull(): Promise<void> {
  for (const node of nodes) {
    const { ok, output } = await node.pull(homelab.image);
    expect(ok, `${node.name}: ${output}`).toBe(true);
  }
}

describe("three agents and three servers", () => {
  test("nobody pulls before", async () => {
    for (const node of nodes) expect((await node.pull(homelab.image)).output).toContain("x509");
  });

  test("all are trusted, a canary first, servers one by one, and each pulls a private image", async () => {
    const runs = await homelab.up();
    console.log(seconds(runs).join(", "));
    for (const { node, ok, output } of runs) expect(ok, `${node}: ${output}`).toBe(true);
    expect(runs.every(({ stdout }) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ restarted$/.test(stdout))).toBe(true);
    const run = (name: string) => runs.find(({ node }) => node === name) as Run;
    const canary = run("agent-1");
    const others = [run("agent-2"), run("agent-3")];
    const servers = [run("server-1"), run("server-2"), run("server-3")];
    for (const { began } of others) expect(began).toBeGreaterThanOrEqual(canary.ended);
    expect(others[0]?.began).toBeLessThan(others[1]?.ended as number);
    expect(others[1]?.began).toBeLessThan(others[0]?.ended as number);
    let before = Math.max(...others.map(({ ended }) => ended));
    for (const { began, ended } of servers) {
      expect(began).toBeGreaterThanOrEqual(before);
      before = ended;
    }
    await expectAllPull();
  });

  test("a second run restarts none, with the state and without it", async () => {
    const before = await pids();
    const same = await homelab.up();
    expect(same.map(({ action }) => action)).toEqual(Array(6).fill("same"));
    homelab.forgetState();
    const again = await homelab.up();
    console.log(seconds(again).join(", "));
    expect(again.map(({ stdout }) => stdout.split(" ")[1])).toEqual(Array(6).fill("unchanged"));
    expect(await pids()).toEqual(before);
  });

  test("the file is root's alone, and names who manages it", async () => {
    for (const node of nodes) {
      const folder = `/etc/rancher/${node.distribution}`;
      const { stdout } = await node.exec(`stat -c '%a %U %n' ${folder}/registries.yaml ${folder}/homecloud`);
      expect(stdout).toBe(`600 root ${folder}/registries.yaml\n700 root ${folder}/homecloud\n`);
      const { stdout: files } = await node.exec(`ls ${folder} ${folder}/homecloud`);
      expect(files.split("\n").filter((name) => /new|former|pending/.test(name))).toEqual([]);
      const [header] = (await node.readFile(`${folder}/registries.yaml`)).split("\n");
      expect(header).toContain(`stack homecloud/test, node ${node.name}:`);
    }
  });

  test("a failure at the canary stops the rest", async () => {
    const before = await pids();
    await homelab.node("agent-1").fault("start-fails", true);
    const runs = await homelab.up({ settings: another("canary") });
    await homelab.node("agent-1").fault("start-fails", false);
    expect(runs.map(({ node, action, ok }) => `${node} ${action} ${ok}`)).toEqual([
      "agent-1 update false",
      ...["agent-2", "agent-3", "server-1", "server-2", "server-3"].map((name) => `${name} skipped false`),
    ]);
    await homelab.node("agent-1").exec("systemctl restart k3s-agent");
    await homelab.node("agent-1").untilHealthy();
    expect((await pids()).filter((now, index) => now !== before[index])).toHaveLength(1);
    await expectAllPull();
  });

  test("destroy puts back what was there: nothing; servers first, one by one", async () => {
    const runs = await homelab.destroy();
    const order = runs.map(({ node }) => node);
    expect(order.slice(0, 3)).toEqual(["server-3", "server-2", "server-1"]);
    expect(order.slice(3).sort()).toEqual(["agent-1", "agent-2", "agent-3"]);
    expect(order.at(-1), "the canary").toBe("agent-1");
    for (const { ok, output } of runs) expect(ok, output).toBe(true);
    for (const node of nodes) {
      const { stdout } = await node.exec(`find /etc/rancher/${node.distribution} -mindepth 1 ! -name '*.yaml'`);
      expect(stdout).toBe("");
      expect(await node.exists(`/etc/rancher/${node.distribution}/registries.yaml`)).toBe(false);
      expect((await node.pull(homelab.image)).output).toContain("x509");
      expect(await node.isHealthy()).toBe(true);
    }
  });
});
