import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { TestNode } from "../nodes/fleet.ts";
import { another, Homelab, type Program } from "../nodes/homelab.ts";
import { issue, makeCa } from "../nodes/private-registry.ts";
import { nodeTools } from "../tools.ts";

/** Whatever fails, every node pulls what it could pull before, and the error names the cause. */
let homelab: Homelab;
let former: string;

const FILE = "/etc/rancher/k3s/registries.yaml";
const STATE = "/etc/rancher/k3s/homecloud";

beforeAll(async () => {
  homelab = await Homelab.start(await nodeTools(), [
    { name: "server", role: "server" },
    { name: "agent", role: "agent" },
    { name: "guest", role: "agent", user: "guest", sudo: false },
    { name: "foreign", role: "agent", shell: "busybox" },
  ]);
});
afterAll(async () => {
  await homelab?.stop();
});

/** Runs a change on a node that is expected to fail, with what goes wrong while it does. */
async function failing(node: TestNode, program: Program, meanwhile = async () => {}): Promise<string> {
  const running = homelab.run(node.name, "create", program);
  await meanwhile();
  const { exitCode, all } = await running;
  expect(exitCode, all).toBe(1);
  return all;
}

async function expectAsBefore(node: TestNode): Promise<void> {
  const { ok, output } = await node.pull(homelab.image);
  expect(ok, output).toBe(true);
  expect(await node.readFile(FILE)).toBe(former);
  expect(await leftovers(node)).toEqual([]);
  expect(await node.isHealthy()).toBe(true);
}

async function leftovers(node: TestNode): Promise<string[]> {
  const { stdout } = await node.exec(
    `find /etc/rancher/k3s -name '*.homecloud-new' -o -name 'former*' -o -name pending`,
  );
  return stdout.split("\n").filter(Boolean);
}

const pid = async (node: TestNode) => (await node.exec(`systemctl show -p MainPID --value ${node.service}`)).stdout;

describe.each(["server", "agent"])("on a trusted %s", (name) => {
  let node: TestNode;
  let before: string;

  beforeAll(async () => {
    node = homelab.node(name);
    const { all, exitCode } = await homelab.run(name, "create");
    expect(exitCode, all).toBe(0);
  });
  beforeEach(async () => {
    former = await node.readFile(FILE);
    before = await pid(node);
  });
  afterEach(async () => {
    await node.freeDisk();
    await expectAsBefore(node);
    const { all, stdout } = await homelab.run(name, "create");
    expect(stdout, all).toMatch(/ (unchanged|restarted)$/);
  });

  test("a wrong password", async () => {
    const output = await failing(node, { settings: another("a"), login: { name: "puller-1", password: "wrong" } });
    expect(output).toMatch(/refuses the login of puller-1 \(401\)\. Nothing was changed/);
    expect(await pid(node)).toBe(before);
  });

  test("a wrong CA", async () => {
    const output = await failing(node, { ca: (await makeCa("another")).certPem });
    expect(output).toMatch(/the certificate at .* is none that the given CA vouch for\. Nothing was changed/);
    expect(await pid(node)).toBe(before);
  });

  test("the registry is down", async () => {
    await homelab.registry.pod.shutDown();
    const output = await failing(node, { settings: another("a") });
    const again = await failing(node, {});
    await homelab.registry.pod.restart();
    expect(output).toMatch(/nothing answers at https:.*: is the registry up.*Nothing was changed/);
    expect(again).toMatch(/containerd cannot pull from .*connection refused.*Nothing was changed/);
    expect(await pid(node)).toBe(before);
  });

  test("the name does not resolve", async () => {
    const hosts = await node.readFile("/etc/hosts");
    await node.writeFile("/etc/hosts", "127.0.0.1 localhost\n");
    const output = await failing(node, { settings: another("a") });
    await node.writeFile("/etc/hosts", hosts);
    expect(output).toMatch(/the name in https:.* does not resolve on the node.*Nothing was changed/);
    expect(await pid(node)).toBe(before);
  });

  test("a restart that hangs", async () => {
    await node.fault("start-hangs", true);
    const output = await failing(node, { settings: another("a") }, async () => {
      await sleep(6000);
      await node.fault("start-hangs", false);
    });
    expect(output).toMatch(/the restart of k3s.* did not end well within 10 s/);
    expect(output).toMatch(/What was there before is back, and k3s.* is healthy with it/);
  });

  test("a stop that hangs: the old process goes on, and the next run picks it up", async () => {
    await node.fault("stop-hangs", true);
    const output = await failing(node, { settings: another("a") });
    expect(output).toMatch(/the restart of k3s.* did not end well within 10 s/);
    expect(output).toMatch(/What was there before is back, but k3s.* even so/);
    expect((await node.pull(homelab.image)).ok).toBe(true);
    await node.fault("stop-hangs", false);
    // As systemd does after TimeoutStopSec, 90 s.
    await node.killTree(/k3s (server|agent)/);
    await node.untilHealthy();
    const { exitCode, all } = await homelab.run(name, "create");
    expect(exitCode, all).toBe(0);
  });

  test("a kubelet that stays dead", async () => {
    await node.fault("kubelet-dead", true);
    const output = await failing(node, { settings: another("a") }, async () => {
      await sleep(6000);
      await node.fault("kubelet-dead", false);
    });
    expect(output).toMatch(/kubelet is not healthy|did not end well/);
    expect(output).toMatch(/The last lines of k3s/);
    expect(output).toMatch(/What was there before is back, and k3s.* is healthy with it/);
  });

  test("a kubelet that is dead even with the former file: said so, and picked up by the next run", async () => {
    await node.fault("kubelet-dead", true);
    const output = await failing(node, { settings: another("a") });
    expect(output).toMatch(/What was there before is back, but .* even so: see journalctl -u k3s/);
    await node.fault("kubelet-dead", false);
    const { exitCode, all } = await homelab.run(name, "create");
    expect(exitCode, all).toBe(0);
  });

  test("a kubelet that was dead before is not touched", async () => {
    await node.fault("kubelet-dead", true);
    await node.exec(`timeout 5 systemctl restart ${node.service}`);
    const output = await failing(node, { settings: another("a") });
    expect(output).toMatch(/, before anything was changed\. Repair the node first/);
    await node.fault("kubelet-dead", false);
    await node.exec(`systemctl restart ${node.service}`);
    await node.untilHealthy();
  });

  test("a full disk", async () => {
    await node.fillDisk();
    const output = await failing(node, { settings: another("a") });
    expect(output).toMatch(/make room on the node's disk \(0 left on .*\)\. Nothing was changed/);
    expect(await pid(node)).toBe(before);
  });

  test("a disk that fills up after the file was written, and K3s does not come back", async () => {
    await node.fault("kubelet-dead", true);
    const running = homelab.run(name, "create", { settings: another("a") }, async (text) => {
      if (!text.includes("restarting")) return;
      await node.fillDisk();
      await sleep(4000);
      await node.fault("kubelet-dead", false);
    });
    const { exitCode, all } = await running;
    expect(exitCode, all).toBe(1);
    expect(all).toMatch(/What was there before is back, and k3s.* is healthy with it/);
  });

  test("two runs at once: the second waits, then says who is at work", async () => {
    const held = node.exec("flock /run/homecloud-node-trust.lock sleep 6");
    await sleep(300);
    expect(await failing(node, { settings: another("a") })).toMatch(/another run has been at work on this node/);
    await held;
    expect(await pid(node)).toBe(before);
  });
});

describe("on a node that is somebody else's", () => {
  const text = () => `mirrors:\n  "${homelab.registry.host}":\n    endpoint: ["https://${homelab.registry.host}"]\n`;
  const login = () => homelab.registry.puller;
  let node: TestNode;

  /** What somebody who knows K3s has written by hand. */
  beforeAll(async () => {
    node = homelab.node("foreign");
    await node.writeFile("/etc/rancher/k3s/own.crt", homelab.registry.ca.certPem);
    const auth = `auth: { username: ${login().name}, password: ${login().password} }`;
    const config = `configs:\n  "${homelab.registry.host}":\n    ${auth}\n    tls: { ca_file: /etc/rancher/k3s/own.crt }\n`;
    former = `${text()}${config}`;
    await node.writeFile(FILE, former);
    await node.exec("chmod 640 /etc/rancher/k3s/registries.yaml; systemctl restart k3s-agent");
    await node.untilHealthy();
  });

  test("its file is left alone, and the error says what to do", async () => {
    const before = await pid(node);
    const output = await failing(node, {});
    expect(output).toMatch(/registries\.yaml was written by somebody else\. Nothing was changed\..*nodeTrust\.adopt/);
    expect(await pid(node)).toBe(before);
    await expectAsBefore(node);
  });

  test("adopt takes it over; a failure gives it back", async () => {
    const adopt = { settings: { adopt: true } };
    await node.fault("kubelet-dead", true);
    const output = await failing(node, adopt, async () => {
      await sleep(6000);
      await node.fault("kubelet-dead", false);
    });
    expect(output).toMatch(/What was there before is back/);
    await expectAsBefore(node);
    const { exitCode, all } = await homelab.run("foreign", "create", adopt);
    expect(exitCode, all).toBe(0);
    expect((await node.pull(homelab.image)).ok).toBe(true);
  });

  test("a later change needs no adopt, and another stack's is refused", async () => {
    expect((await homelab.run("foreign", "create", { settings: another("b") })).exitCode).toBe(0);
    const ours = await node.readFile(FILE);
    await node.writeFile(FILE, ours.replace("stack homecloud/test", "stack homecloud/other"));
    expect(await failing(node, {})).toMatch(
      /belongs to another stack \(# Managed by homecloud, stack homecloud\/other/,
    );
    const left = await homelab.run("foreign", "delete", {});
    expect(left.stdout).toMatch(/left alone$/);
    await node.writeFile(FILE, ours);
  });

  test("destroy puts it back as it was", async () => {
    const { exitCode, all } = await homelab.run("foreign", "delete", {});
    expect(exitCode, all).toBe(0);
    await expectAsBefore(node);
    expect((await node.exec(`stat -c %a ${FILE}; ls /etc/rancher/k3s`)).stdout).toBe("640\nown.crt\nregistries.yaml\n");
  });
});

describe("what is somebody's stays somebody's", () => {
  const OWN = "# somebody's own\nmirrors: {}\n";
  const adopt = { settings: { adopt: true } };
  let node: TestNode;

  beforeEach(async () => {
    node = homelab.node("foreign");
    await node.exec("rm -rf /etc/rancher/k3s/*");
    await node.writeFile(FILE, OWN);
    await node.exec("systemctl restart k3s-agent");
    await node.untilHealthy();
  });

  const run = async (action: "create" | "delete", program: Program, exitCode = 0) => {
    const { all, stdout, exitCode: ended } = await homelab.run("foreign", action, program);
    expect(ended, all).toBe(exitCode);
    return { all, stdout };
  };
  const failingToStart = async (action: "create" | "delete", program: Program) => {
    await node.fault("start-fails", true);
    const { all } = await run(action, program, 1);
    await node.fault("start-fails", false);
    await node.exec("systemctl restart k3s-agent");
    await node.untilHealthy();
    return all;
  };

  test("a symbolic link is not replaced by a file", async () => {
    await node.exec(`mv ${FILE} /etc/rancher/k3s/real.yaml; ln -s real.yaml ${FILE}`);
    const { all } = await run("create", adopt, 1);
    expect(all).toMatch(/registries\.yaml is a symbolic link.*Nothing was changed/);
    expect((await node.exec(`readlink ${FILE}`)).stdout).toBe("real.yaml\n");
    expect((await run("delete", {})).stdout).toMatch(/left alone$/);
    expect((await node.exec(`readlink ${FILE}`)).stdout).toBe("real.yaml\n");
  });

  test("a file that was deleted after a failed adoption does not come back", async () => {
    await failingToStart("create", { settings: { adopt: true, timeLimits: { restart: 5, proof: 2 } } });
    // Its K3s would not start even so; the next run picks it up.
    await run("create", {}, 1);
    expect(await node.readFile(FILE)).toBe(OWN);
    await node.exec(`rm ${FILE}`);
    await run("create", {});
    await run("delete", {});
    expect(await node.exists(FILE)).toBe(false);
  });

  test("a removal whose restart fails once still ends with it, and a second one finds nothing", async () => {
    await run("create", adopt);
    await failingToStart("delete", { settings: { timeLimits: { restart: 5, proof: 2 } } });
    expect(await node.readFile(FILE)).toBe(OWN);
    expect((await run("delete", {})).stdout).toMatch(/removed$/);
    expect(await node.readFile(FILE)).toBe(OWN);
    expect(await node.exists(STATE)).toBe(false);
  });

  test("a file that was written after a failed removal is left alone", async () => {
    await run("create", adopt);
    await failingToStart("delete", { settings: { timeLimits: { restart: 5, proof: 2 } } });
    await node.writeFile(FILE, "# another one\n");
    expect((await run("delete", {})).stdout).toMatch(/left alone$/);
    expect(await node.readFile(FILE)).toBe("# another one\n");
  });

  test("an original outlives a renamed stack", async () => {
    await run("create", adopt);
    const ours = await node.readFile(FILE);
    await node.writeFile(FILE, ours.replace("stack homecloud/test", "stack homecloud/former"));
    await run("create", adopt);
    await run("delete", {});
    expect(await node.readFile(FILE)).toBe(OWN);
  });

  test("a file that somebody keeps keeps its CA", async () => {
    await run("create", adopt);
    const ours = await node.readFile(FILE);
    await node.writeFile(FILE, ours.split("\n").slice(1).join("\n"));
    expect((await run("delete", {})).stdout).toMatch(/left alone$/);
    expect((await node.pull(homelab.image)).ok).toBe(true);
  });

  test("hosts.toml is not written where K3s would delete it again", async () => {
    await node.writeFile(FILE, `mirrors:\n  "${homelab.registry.host}": {}\n`);
    const { all } = await run("create", { settings: { mode: "hosts-toml" } }, 1);
    expect(all).toMatch(/registries\.yaml names registry.*K3s would delete hosts\.toml at its next start/);
  });
});

test("images by another way than the registry's own name, which the node does not even know", async () => {
  const { registry } = homelab;
  const [name = "", port] = registry.host.split(":");
  const node = homelab.node("agent");
  await registry.pod.restart({ tls: await issue(registry.ca, [name, "another-way.test"]) });
  const hosts = await node.readFile("/etc/hosts");
  await node.writeFile("/etc/hosts", hosts.replace(name, "another-way.test"));
  const mirrors = { [registry.host]: { endpoint: [`https://another-way.test:${port}`] } };
  const { exitCode, all } = await homelab.run("agent", "create", { settings: { mirrors } });
  expect(exitCode, all).toBe(0);
  const { ok, output } = await node.pull(homelab.image);
  expect(ok, output).toBe(true);
  const down = { [registry.host]: { endpoint: [`https://another-way.test:${port}`, "https://another-way.test:9"] } };
  const failed = await homelab.run("agent", "create", { settings: { mirrors: down } });
  expect(failed.all).toMatch(/nothing answers at https:\/\/another-way\.test:9.*Nothing was changed/);
  await node.writeFile("/etc/hosts", hosts);
});

describe("a node that cannot be told", () => {
  test("a user who is not root, and may not become it", async () => {
    const sudo = await homelab.run("guest", "create", {});
    expect(sudo.all).toMatch(/sudo: a password is required/);
    const none = await homelab.run("guest", "create", { changes: { guest: { become: "none" } } });
    expect(none.all).toMatch(/the SSH user guest is not root\. Set become to sudo or doas/);
  });

  test("another role than the settings say", async () => {
    const { all } = await homelab.run("server", "create", { changes: { server: { role: "agent" } } });
    expect(all).toMatch(/there is no service k3s-agent on the node, but there is k3s\. Check role and distribution/);
  });

  test("another machine at the address: the host key is another", async () => {
    const hostKey = homelab.node("agent").hostKey;
    const { exitCode, all } = await homelab.run("server", "create", { changes: { server: { hostKey } } });
    expect(exitCode).not.toBe(0);
    expect(all).toMatch(/Host key verification failed/);
  });
});

test("nothing of ours is left where a run failed before it began", async () => {
  const guest = homelab.node("guest");
  expect(await guest.exists(STATE)).toBe(false);
});
