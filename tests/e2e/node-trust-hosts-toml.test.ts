import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { shellQuote } from "../../lab/wrappers.ts";
import type { TestNode } from "../nodes/fleet.ts";
import { Homelab, type Program } from "../nodes/homelab.ts";
import { partsOf } from "../nodes/machine.ts";
import { makeCa, nextCa } from "../nodes/private-registry.ts";
import { describePulls, Pullers } from "../nodes/pullers.ts";
import type { Run } from "../nodes/small-engine.ts";
import { nodeTools } from "../tools.ts";

/** Nodes that are told by hosts.toml: nothing restarts, and who pulls brings a login along. */
let homelab: Homelab;

/** Short limits: here is much that fails. */
const TIME_LIMITS = { connect: 5, check: 2, restart: 10, proof: 6, lock: 3 };
const MODE = { settings: { mode: "hosts-toml", timeLimits: TIME_LIMITS } };
const NODES = ["agent", "server", "plain"];
const K3S_LIKE = ["agent", "server"];
const HEADER = /^# Managed by homecloud, stack homecloud\/test, node /;
const CERTS_D = {
  k3s: "/var/lib/rancher/k3s/agent/etc/containerd/certs.d",
  rke2: "/var/lib/rancher/rke2/agent/etc/containerd/certs.d",
  containerd: "/etc/containerd/certs.d",
};

beforeAll(async () => {
  homelab = await Homelab.start(await nodeTools(), [
    { name: "agent", role: "agent", shell: "busybox" },
    { name: "server", role: "server", distribution: "rke2" },
    { name: "plain", role: "agent", distribution: "containerd" },
  ]);
});
afterAll(async () => {
  await homelab?.stop();
});

const folder = (node: TestNode) => `${CERTS_D[node.distribution]}/${homelab.registry.host}`;
const file = (node: TestNode) => `${folder(node)}/hosts.toml`;
const pid = async (node: TestNode) =>
  (await node.exec(`systemctl show -p MainPID --value ${node.service}`)).stdout.trim();
const pids = () => Promise.all(homelab.fleet.nodes.map(pid));

/** A pull with the login that a pod's pull secret would give, of an image that the node forgets first. */
async function pullAs(node: TestNode, image = homelab.image): Promise<string> {
  const { crictl } = partsOf({ name: node.name, role: node.role, distribution: node.distribution });
  const { name, password } = homelab.registry.puller;
  await node.exec(`${crictl} rmi ${image}`);
  return (await node.exec(`${crictl} pull --creds ${shellQuote(`${name}:${password}`)} ${image}`)).all;
}

const PULLED = /^Image is up to date/;

async function expectTrusts(node: TestNode): Promise<void> {
  expect(await pullAs(node), node.name).toMatch(PULLED);
  const { output } = await node.pull(homelab.image);
  expect(output, node.name).toContain("401 Unauthorized");
  expect(output, node.name).not.toContain("x509");
}

async function expectTrustsNot(node: TestNode): Promise<void> {
  expect(await pullAs(node), node.name).toContain("x509");
}

/** All that there is below a folder: kind, mode and content. */
async function tree(node: TestNode, path: string): Promise<string> {
  const each = `find . -printf '%y %m %p\\n' | sort; find . -type f | sort | xargs -r md5sum`;
  return (await node.exec(`cd ${path} 2>/dev/null && { ${each}; }`)).stdout;
}

async function expectUp(program: Program = {}): Promise<Run[]> {
  const runs = await homelab.up({ ...MODE, ...program });
  for (const { node, ok, output } of runs) expect(ok, `${node}: ${output}`).toBe(true);
  return runs;
}

async function expectRun(node: TestNode, action: "create" | "delete", program: Program = MODE): Promise<string> {
  const { exitCode, all, stdout } = await homelab.run(node.name, action, program);
  expect(exitCode, all).toBe(0);
  return stdout;
}

async function failing(node: TestNode, program: Program = MODE): Promise<string> {
  const { exitCode, all } = await homelab.run(node.name, "create", program);
  expect(exitCode, all).toBe(1);
  return all;
}

describe("trusting", () => {
  let before: string[];

  test("nobody trusts before", async () => {
    before = await pids();
    for (const node of homelab.fleet.nodes) await expectTrustsNot(node);
  });

  test("all trust, and nothing was restarted", async () => {
    const runs = await expectUp();
    expect(runs.map(({ node, stdout }) => `${node} ${stdout.slice(21)}`)).toEqual([
      "agent not restarted",
      "plain not restarted",
      "server not restarted",
    ]);
    for (const node of homelab.fleet.nodes) await expectTrusts(node);
    expect(await pids()).toEqual(before);
  });

  test("an image that does not exist is not found, and nothing is said of certificates", async () => {
    for (const node of homelab.fleet.nodes) {
      const output = await pullAs(node, `${homelab.registry.host}/team/app:none`);
      expect(output, node.name).toContain("not found");
      expect(output, node.name).not.toContain("x509");
    }
  });

  test("a second run writes nothing", async () => {
    const trees = await Promise.all(homelab.fleet.nodes.map((node) => tree(node, folder(node))));
    homelab.forgetState();
    expect((await expectUp()).map(({ stdout }) => stdout.split(" ")[1])).toEqual(Array(3).fill("unchanged"));
    expect(await Promise.all(homelab.fleet.nodes.map((node) => tree(node, folder(node))))).toEqual(trees);
  });

  test("it outlives a restart of K3s, which writes such files too, and a reboot", async () => {
    for (const node of homelab.fleet.nodes) {
      const former = await tree(node, folder(node));
      await node.exec(`systemctl restart ${node.service}`);
      await node.untilHealthy();
      expect(await tree(node, folder(node))).toBe(former);
      await expectTrusts(node);
    }
    const node = homelab.node("agent");
    await node.reboot();
    await node.untilHealthy();
    await expectTrusts(node);
  });
});

test("a changed CA: nobody fails a pull, and nothing restarts", async () => {
  const before = await pids();
  const { registry } = homelab;
  const next = await nextCa(registry.ca, "homecloud test CA 2");
  const pullers = await Pullers.start(homelab.fleet.nodes, homelab.image, registry.puller);
  const expectPulls = async (when: string) => {
    const pulls = await pullers.take(3);
    console.log(`${when}: ${describePulls(pulls)}`);
    for (const [node, { ok, failed }] of pulls) {
      expect(failed, `${node}, ${when}`).toEqual([]);
      expect(ok).toBeGreaterThan(0);
    }
  };
  await registry.serve(next, next.crossSigned);
  await pullers.take();
  await expectPulls("the nodes know the former CA alone");
  for (const { stdout } of await expectUp({ ca: next.certPem })) expect(stdout).toMatch(/ not restarted$/);
  await expectPulls("the nodes are told");
  await registry.serve(next);
  await pullers.take();
  await expectPulls("the former CA is gone");
  await registry.serve(next, next.crossSigned);
  await pullers.take();
  await expectUp();
  await expectPulls("back to the former CA");
  await registry.serve(registry.ca);
  await pullers.stop();
  expect(await pids()).toEqual(before);
});

/** What makes a run fail, and how it is undone. */
interface Cause {
  ca?: string;
  undo?: () => Promise<void>;
}

describe.each(NODES)("what fails on %s leaves what was there before", (name) => {
  let node: TestNode;
  let before: string;

  beforeAll(() => {
    node = homelab.node(name);
  });

  describe.each(["told before", "never told"])("%s", (state) => {
    beforeAll(async () => {
      await expectRun(node, state === "told before" ? "create" : "delete");
    });
    beforeEach(async () => {
      before = await pid(node);
    });

    /** A run that fails for this reason, undone: as if it had never been. */
    async function expectFailure(message: RegExp, { ca, undo }: Cause): Promise<void> {
      // Another header is a change.
      const changes = { [name]: { name: `${name}-renamed` } };
      const former = await tree(node, CERTS_D[node.distribution]);
      const output = await failing(node, { ...MODE, changes, ...(ca ? { ca } : {}) });
      await undo?.();
      expect(output).toMatch(message);
      expect(await tree(node, CERTS_D[node.distribution])).toBe(former);
      expect(await pid(node)).toBe(before);
      await (state === "told before" ? expectTrusts : expectTrustsNot)(node);
    }

    test("a wrong CA", async () => {
      await expectFailure(/the certificate at .* is none that the given CA vouch.* for\. Nothing was changed/, {
        ca: (await makeCa("another")).certPem,
      });
    });

    test("a name that does not resolve", async () => {
      const hosts = await node.readFile("/etc/hosts");
      await node.writeFile("/etc/hosts", "127.0.0.1 localhost\n");
      await expectFailure(/the name in https:.* does not resolve on the node.*Nothing was changed/, {
        undo: () => node.writeFile("/etc/hosts", hosts),
      });
    });

    test("a registry that is down", async () => {
      await homelab.registry.pod.shutDown();
      await expectFailure(/nothing answers at https:.*: is the registry up.*Nothing was changed/, {
        undo: () => homelab.registry.restart(),
      });
    });

    test("a full disk", async () => {
      await node.exec("dd if=/dev/zero of=/filler bs=1M; dd if=/dev/zero of=/filler.rest bs=4k");
      await expectFailure(/make room on the node's disk.*Nothing was changed/, {
        undo: async () => void (await node.exec("rm /filler /filler.rest")),
      });
    });
  });
});

describe("a plain containerd that does not look into certs.d", () => {
  const CONFIG = "/etc/containerd/config.toml";
  let node: TestNode;
  let config: string;

  const restart = async (text: string) => {
    await node.writeFile(CONFIG, text);
    await node.exec("systemctl restart containerd");
    await node.untilHealthy();
  };

  beforeAll(async () => {
    node = homelab.node("plain");
    await homelab.run("plain", "delete", MODE);
    config = await node.readFile(CONFIG);
    await restart(config.replace(/^.*config_path.*\n/m, ""));
  });
  afterAll(async () => {
    await restart(config);
  });

  test("is noticed by the proof, and what was there before is back", async () => {
    const former = await tree(node, "/etc/containerd");
    const output = await failing(node);
    expect(output).toMatch(/containerd does not trust the certificate/);
    expect(output).toContain("config_path");
    expect(output).toContain("What was there before is back");
    expect(await tree(node, "/etc/containerd")).toBe(former);
  });
});

describe.each(NODES)("somebody else's hosts.toml on %s", (name) => {
  let node: TestNode;
  let former: string;
  const adopt = { settings: { ...MODE.settings, adopt: true } };

  beforeAll(async () => {
    node = homelab.node(name);
    await homelab.run(name, "delete", MODE);
    const url = `https://${homelab.registry.host}`;
    await node.writeFile(`${folder(node)}/own.crt`, homelab.registry.ca.certPem);
    await node.writeFile(
      file(node),
      `server = "${url}"\n\n[host."${url}"]\n  ca = "${folder(node)}/own.crt"\n  capabilities = ["pull", "resolve"]\n`,
    );
    await node.exec(`chmod 640 ${file(node)}`);
    former = await tree(node, folder(node));
    expect(await pullAs(node)).toMatch(PULLED);
  });
  afterAll(async () => {
    await node.exec(`rm -rf ${folder(node)}`);
  });

  test("is left alone, and the error says what to do", async () => {
    expect(await failing(node)).toMatch(/hosts\.toml was written by somebody else\. Nothing was changed\..*adopt/);
    expect(await tree(node, folder(node))).toBe(former);
  });

  test("is taken over, and given back", async () => {
    expect(await expectRun(node, "create", adopt)).toMatch(/ not restarted$/);
    expect(await node.readFile(file(node))).toMatch(HEADER);
    await expectTrusts(node);
    expect(await expectRun(node, "delete", adopt)).toMatch(/ removed$/);
    expect(await tree(node, folder(node))).toBe(former);
    expect(await pullAs(node)).toMatch(PULLED);
  });
});

describe("a change of the mode, in one up", () => {
  let pullers: Pullers;
  const members = () => K3S_LIKE.map((name) => homelab.node(name));

  async function switchTo(mode: string): Promise<string[]> {
    const runs = await homelab.up({ settings: { mode }, nodes: K3S_LIKE });
    for (const { node, ok, output } of runs) expect(ok, `${node}: ${output}`).toBe(true);
    const pulls = await pullers.take(3);
    console.log(`to ${mode}: ${describePulls(pulls)}`);
    for (const [node, { failed }] of pulls) expect(failed, node).toEqual([]);
    return runs.map(({ node, action, stdout }) => `${node} ${action} ${stdout.slice(21)}`);
  }

  beforeAll(async () => {
    homelab.forgetState();
    await expectUp({ nodes: K3S_LIKE });
    pullers = await Pullers.start(members(), homelab.image, homelab.registry.puller);
  });
  afterAll(async () => {
    await pullers?.stop();
  });

  test("to registries.yaml: pulls go on, and K3s has the registry's folder for itself", async () => {
    expect(await switchTo("registries-yaml")).toEqual([
      "agent create restarted",
      "server create restarted",
      "server delete left alone",
      "agent delete left alone",
    ]);
    for (const node of members()) {
      expect((await node.pull(homelab.image)).ok).toBe(true);
      expect((await node.exec(`ls ${folder(node)}`)).stdout).toBe("hosts.toml\n");
      expect(await node.readFile(file(node))).toMatch(/^# File generated by/);
    }
  });

  test("to hosts.toml: pulls go on, and registries.yaml is gone", async () => {
    expect(await switchTo("hosts-toml")).toEqual([
      "agent create not restarted",
      "server create not restarted",
      "server delete removed",
      "agent delete removed",
    ]);
    for (const node of members()) {
      await expectTrusts(node);
      const { stdout } = await node.exec(`find /etc/rancher/${node.distribution} -mindepth 1 ! -name '*.yaml'`);
      expect(stdout).toBe("");
      expect(await node.exists(`/etc/rancher/${node.distribution}/registries.yaml`)).toBe(false);
      expect(await node.readFile(file(node))).toMatch(HEADER);
    }
  });

  test("and a destroy leaves nothing", async () => {
    const before = await pids();
    for (const { ok, output } of await homelab.destroy()) expect(ok, output).toBe(true);
    expect(await pids()).toEqual(before);
    for (const node of members()) {
      await expectTrustsNot(node);
      expect((await node.exec(`ls -A ${CERTS_D[node.distribution]}`)).stdout).toBe("");
    }
  });
});
