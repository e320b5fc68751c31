import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TestNode } from "../nodes/fleet.ts";
import { another, Homelab } from "../nodes/homelab.ts";
import { nodeTools } from "../tools.ts";

/** A run that is cut off, anywhere and in any way: the node pulls, and the next run makes it whole. */
let homelab: Homelab;

const FOLDER = "/etc/rancher/k3s";

beforeAll(async () => {
  homelab = await Homelab.start(await nodeTools(), [
    { name: "server", role: "server" },
    { name: "agent", role: "agent", shell: "busybox" },
  ]);
});
afterAll(async () => {
  await homelab?.stop();
});

const KINDS = {
  "connection cut": (node: TestNode) => node.cutSsh(),
  "script killed": (node: TestNode) => node.killTree(/^(sh|dash|busybox|\S*\/sh) -s /),
  "power lost": (node: TestNode) => node.reboot(),
};
type Kind = keyof typeof KINDS;

/** Runs a node's command and cuts it as soon as it says this. */
async function cutAt(node: TestNode, action: "create" | "delete", step: string, kind: Kind, settings: object) {
  let cut: Promise<unknown> | undefined;
  let heard = "";
  await homelab.run(node.name, action, { settings }, (text) => {
    heard += text;
    if (!cut && heard.includes(step)) cut = KINDS[kind](node);
  });
  expect(cut, `the run never said: ${step}`).toBeDefined();
  await cut;
  await settled(node);
}

/** Waits until nothing of homecloud's is at work on the node any more, and its service has come up. */
async function settled(node: TestNode): Promise<void> {
  await node.exec("touch /run/homecloud-node-trust.lock; timeout 30 flock /run/homecloud-node-trust.lock true");
  // A service that was stopped for a restart is started by systemd, whoever asked for it.
  await node.untilHealthy();
}

async function expectPulls(node: TestNode, when: string): Promise<void> {
  const { ok, output } = await node.pull(homelab.image);
  expect(ok, `${when}: ${output}`).toBe(true);
}

async function files(node: TestNode): Promise<string[]> {
  const { stdout } = await node.exec(`find ${FOLDER} -type f ! -name k3s.yaml | sort`);
  return stdout.trim().split("\n").filter(Boolean);
}

const WHOLE = [`${FOLDER}/homecloud/ca.crt`, `${FOLDER}/homecloud/proven`, `${FOLDER}/registries.yaml`];

/** The steps that a run says, as it says them. */
async function steps(node: TestNode, action: "create" | "delete", settings: object): Promise<string[]> {
  const { all, exitCode } = await homelab.run(node.name, action, { settings });
  expect(exitCode, all).toBe(0);
  return all.split("\n").filter((line) => line.startsWith(`${node.name}: `));
}

describe.each(["server", "agent"])("on a %s", (name) => {
  let node: TestNode;
  let count = 0;
  const fresh = () => another(`mirror-${name}-${count++}`);

  beforeAll(() => {
    node = homelab.node(name);
  });

  test.each(Object.keys(KINDS) as Kind[])("%s between any two steps of a change", async (kind) => {
    await steps(node, "create", {});
    const all = await steps(node, "create", fresh());
    expect(all.length).toBeGreaterThanOrEqual(6);
    for (const step of all) {
      const settings = fresh();
      await cutAt(node, "create", step, kind, settings);
      await expectPulls(node, `${kind} at "${step}"`);
      const again = await homelab.run(name, "create", { settings });
      expect(again.exitCode, `again after ${kind} at "${step}": ${again.all}`).toBe(0);
      expect(await files(node), `${kind} at "${step}"`).toEqual(WHOLE);
      expect(await node.readFile(WHOLE[2] ?? "")).toContain(`mirror-${name}-${count - 1}.test`);
      await expectPulls(node, `again after ${kind} at "${step}"`);
    }
  });

  test("script killed at any moment", async () => {
    for (let moment = 0; moment < 12; moment++) {
      const settings = fresh();
      const running = homelab.run(name, "create", { settings });
      // Spread over the run, and never twice the same.
      await sleep(250 + moment * 137);
      await KINDS["script killed"](node);
      await running;
      await settled(node);
      await expectPulls(node, `killed at moment ${moment}`);
    }
    const { exitCode, all } = await homelab.run(name, "create", {});
    expect(exitCode, all).toBe(0);
    expect(await files(node)).toEqual(WHOLE);
  });

  test("a change that does not work, cut off and started again, ends with what was there before", async () => {
    const former = await node.readFile(WHOLE[2] ?? "");
    const settings = fresh();
    await node.fault("kubelet-dead", true);
    let cut: Promise<unknown> | undefined;
    await homelab.run(name, "create", { settings }, (text) => {
      if (text.includes("restarting")) cut = sleep(500).then(() => KINDS["script killed"](node));
    });
    await cut;
    const again = homelab.run(name, "create", { settings });
    await sleep(6000);
    await node.fault("kubelet-dead", false);
    const { exitCode, all } = await again;
    expect(exitCode, all).toBe(1);
    expect(all).toContain("What was there before is back");
    expect(await node.readFile(WHOLE[2] ?? "")).toBe(former);
    await expectPulls(node, "after the rollback");
    expect((await homelab.run(name, "create", {})).exitCode).toBe(0);
  });

  test.each(Object.keys(KINDS) as Kind[])("%s between any two steps of a removal", async (kind) => {
    const all = await steps(node, "delete", {});
    for (const step of all) {
      expect((await homelab.run(name, "create", {})).exitCode).toBe(0);
      await cutAt(node, "delete", step, kind, {});
      const { exitCode, all: output } = await homelab.run(name, "delete", {});
      expect(exitCode, output).toBe(0);
      expect(await files(node), `${kind} at "${step}"`).toEqual([]);
      expect(await node.isHealthy()).toBe(true);
      expect((await node.pull(homelab.image)).output, `${kind} at "${step}"`).toContain("x509");
    }
  });
});
