import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Tools } from "../../lab/tools.ts";
import { Fleet, type TestNode } from "../nodes/fleet.ts";
import { PrivateRegistry } from "../nodes/private-registry.ts";
import { nodeTools } from "../tools.ts";

/** What the tests of NodeTrust take for granted: that test nodes are what they claim to be. */
let tools: Tools;
let fleet: Fleet;
let registry: PrivateRegistry;
let image: string;
let server: TestNode;
let agent: TestNode;

beforeAll(async () => {
  tools = await nodeTools();
  registry = await PrivateRegistry.start(tools);
  image = await registry.push("team/app:1.0");
  fleet = await Fleet.start(tools, [
    { name: "k3s-1", role: "server" },
    { name: "k3s-2", role: "agent", user: "homelab", shell: "busybox" },
    { name: "k3s-3", role: "agent", user: "guest", sudo: false },
    { name: "rke2-1", role: "server", distribution: "rke2" },
    { name: "plain-1", role: "agent", distribution: "containerd" },
  ]);
  await fleet.addHost("registry.homelab.test", fleet.gateway);
  server = fleet.node("k3s-1");
  agent = fleet.node("k3s-2");
});

afterAll(async () => {
  await fleet?.stop();
  await registry?.stop();
});

const folderOf = (node: TestNode) => `/etc/rancher/${node.distribution}`;

/** What somebody who knows K3s would write by hand. */
async function trustByHand(node: TestNode, password = registry.puller.password): Promise<void> {
  await node.writeFile(`${folderOf(node)}/ca.crt`, registry.ca.certPem);
  await node.writeFile(
    `${folderOf(node)}/registries.yaml`,
    `mirrors:
  "${registry.host}":
    endpoint: ["https://${registry.host}"]
configs:
  "${registry.host}":
    auth: { username: ${registry.puller.name}, password: ${password} }
    tls: { ca_file: ${folderOf(node)}/ca.crt }
`,
  );
}

async function distrust(node: TestNode): Promise<void> {
  await node.exec(`rm -f ${folderOf(node)}/registries.yaml && systemctl restart ${node.service}`);
  await node.untilHealthy();
}

const restart = (node: TestNode, seconds = 20) => node.exec(`timeout ${seconds} systemctl restart ${node.service}`);

describe("a node is a machine of its own", () => {
  test("SSH lets the key in, and nobody without it", async () => {
    expect((await server.ssh("id -un; hostname")).stdout).toBe("root\nk3s-1\n");
    expect((await agent.ssh("id -un; hostname")).stdout).toBe("homelab\nk3s-2\n");
    const options = ["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "IdentityFile=none"];
    const known = ["-o", "UserKnownHostsFile=/dev/null"];
    const { stderr } = await execa(tools.bin("ssh"), [...options, ...known, `root@${server.address}`, "id"], {
      reject: false,
    });
    expect(stderr).toContain("Permission denied (publickey)");
  });

  test("its host key is the one that it is known by", async () => {
    const scanned = await agent.readFile("/etc/ssh/ssh_host_ed25519_key.pub");
    expect(scanned.trim()).toBe(agent.hostKey);
    expect(agent.hostKey).toMatch(/^ssh-ed25519 AAAA/);
    expect(server.hostKey).not.toBe(agent.hostKey);
  });

  test("a user becomes root by sudo where that is allowed", async () => {
    expect((await agent.ssh("sudo -n id -u")).stdout).toBe("0\n");
    const refused = await fleet.node("k3s-3").ssh("sudo -n id -u");
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toContain("a password is required");
  });

  test("nobody but root restarts services, or reads their journal", async () => {
    const guest = fleet.node("k3s-3");
    const restarted = await guest.ssh("systemctl restart k3s-agent");
    expect(restarted).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("authentication required") });
    expect((await guest.ssh("journalctl -u k3s-agent -o cat")).stdout).toBe("-- No entries --\n");
    expect((await guest.ssh("k3s crictl images")).exitCode).not.toBe(0);
  });

  test("neither another node nor this machine sees its files, processes or ports", async () => {
    await server.writeFile("/etc/rancher/k3s/mine", "1");
    await server.writeFile("/usr/local/bin/mine", "1");
    expect(await agent.exists("/etc/rancher/k3s/mine")).toBe(false);
    const { exitCode } = await execa("ls", ["/etc/rancher/k3s/mine", "/usr/local/bin/mine"], { reject: false });
    expect(exitCode).toBe(2);
    const { stdout: mounts } = await execa("cat", ["/proc/self/mountinfo"]);
    expect(mounts).not.toContain("homecloud-fleets");
    const seen = (await server.processes()).map(({ args }) => args);
    expect(seen.some((args) => args.includes("k3s server"))).toBe(true);
    expect(seen.some((args) => args.includes("k3s agent") || args.includes("vitest"))).toBe(false);
    await server.exec("rm /etc/rancher/k3s/mine");
  });

  test("/bin/sh is the shell that was asked for", async () => {
    expect((await agent.ssh("readlink -f /bin/sh")).stdout).toContain("busybox");
    expect((await server.ssh("readlink -f /bin/sh")).stdout).not.toContain("busybox");
  });
});

describe("a pull is a real one", () => {
  test("without trust it fails for the certificate, with it and a login it succeeds", async () => {
    for (const node of [server, agent, fleet.node("rke2-1")]) {
      expect((await node.pull(image)).output).toContain("x509: certificate signed by unknown authority");
      await trustByHand(node);
      expect(await restart(node)).toMatchObject({ exitCode: 0 });
      await node.untilHealthy();
      expect(await node.pull(image)).toMatchObject({ ok: true });
      await distrust(node);
    }
  });

  test("a wrong password is refused by the real gate", async () => {
    await trustByHand(server, "wrong");
    await restart(server);
    await server.untilHealthy();
    const { ok, output } = await server.pull(image);
    expect(ok).toBe(false);
    expect(output).toMatch(/401 Unauthorized|authorization failed/);
    await distrust(server);
  });

  test("plain containerd takes the CA from hosts.toml without a restart, and refuses for want of a login", async () => {
    const node = fleet.node("plain-1");
    expect((await node.pull(image)).output).toContain("x509:");
    const folder = `/etc/containerd/certs.d/${registry.host}`;
    await node.writeFile(`${folder}/ca.crt`, registry.ca.certPem);
    await node.writeFile(`${folder}/hosts.toml`, `server = "https://${registry.host}"\nca = "${folder}/ca.crt"\n`);
    const { output } = await node.pull(image);
    expect(output).not.toContain("x509:");
    expect(output).toMatch(/401 Unauthorized|no basic auth credentials|authorization failed/);
  });

  test("a registry that is down is one that refuses connections", async () => {
    await trustByHand(server);
    await restart(server);
    await server.untilHealthy();
    await registry.pod.shutDown();
    expect((await server.pull(image)).output).toContain("connection refused");
    await registry.pod.restart();
    expect(await server.pull(image)).toMatchObject({ ok: true });
    await distrust(server);
  });

  test("hosts.toml files of others stay, K3s's own go with what they came from", async () => {
    const certs = "/var/lib/rancher/k3s/agent/etc/containerd/certs.d";
    await server.writeFile(`${certs}/other.example/hosts.toml`, 'server = "https://other.example"\n');
    await trustByHand(server);
    await restart(server);
    await server.untilHealthy();
    expect(await server.readFile(`${certs}/${registry.host}/hosts.toml`)).toMatch(
      /^# File generated by k3s\. DO NOT EDIT\.\n/,
    );
    await distrust(server);
    expect(await server.exists(`${certs}/${registry.host}`)).toBe(false);
    expect(await server.exists(`${certs}/other.example/hosts.toml`)).toBe(true);
  });
});

describe("the service reads registries.yaml as K3s does", () => {
  test("at its start and not again", async () => {
    await trustByHand(server);
    expect((await server.pull(image)).output).toContain("x509:");
    await restart(server);
    await server.untilHealthy();
    await server.exec("rm /etc/rancher/k3s/registries.yaml");
    expect(await server.pull(image)).toMatchObject({ ok: true });
    await distrust(server);
  });

  test("a malformed file leaves a server without kubelet, though its restart ends well", async () => {
    await server.writeFile("/etc/rancher/k3s/registries.yaml", "mirrors: [\n");
    const since = Math.floor(Date.now() / 1000);
    expect(await restart(server)).toMatchObject({ exitCode: 0 });
    await sleep(1000);
    expect((await server.exec("systemctl is-active k3s")).stdout).toBe("active\n");
    expect((await server.exec("k3s kubectl get --raw /readyz")).stdout).toBe("ok");
    expect((await server.exec("curl -s http://127.0.0.1:10248/healthz")).exitCode).toBe(7);
    expect((await server.exec("k3s crictl images")).exitCode).not.toBe(0);
    const { stdout } = await server.exec(`journalctl -u k3s --since @${since} -n 200 -o cat --no-pager`);
    expect(stdout).toContain("Waiting to retrieve agent configuration; server is not ready: yaml: line");
    await distrust(server);
  });

  test("a malformed file keeps an agent's restart waiting, and the job outlives who asked for it", async () => {
    await agent.writeFile("/etc/rancher/k3s/registries.yaml", "mirrors: [\n");
    expect(await restart(agent, 3)).toMatchObject({ exitCode: 124 });
    expect((await agent.exec("systemctl is-active k3s-agent")).stdout).toBe("activating\n");
    await trustByHand(agent);
    expect(await restart(agent)).toMatchObject({ exitCode: 0 });
    await agent.untilHealthy();
    await distrust(agent);
  });

  test("a new restart takes the place of one that hangs, and a stop cancels it", async () => {
    await agent.writeFile("/etc/rancher/k3s/registries.yaml", "mirrors: [\n");
    const hanging = agent.exec("systemctl restart k3s-agent");
    await sleep(1000);
    await agent.exec("rm /etc/rancher/k3s/registries.yaml");
    expect(await restart(agent)).toMatchObject({ exitCode: 0 });
    expect(await hanging).toMatchObject({ exitCode: 0 });
    await agent.fault("start-hangs", true);
    const canceled = agent.exec("systemctl restart k3s-agent");
    await sleep(1000);
    await agent.exec("systemctl stop k3s-agent");
    expect(await canceled).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("canceled") });
    await agent.fault("start-hangs", false);
    await distrust(agent);
  });

  test("read-registries says what K3s's parser makes of a file", async () => {
    await server.writeFile("/tmp/good", 'configs: { "r:5000": { auth: { username: a, password: "b<" } } }\n');
    await server.writeFile("/tmp/bad", "mirrors: [\n");
    const { stdout } = await server.exec("k3s read-registries", { input: "/tmp/good\n/tmp/bad\n/tmp/none\n" });
    const [good, bad, none] = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(good.configs["r:5000"].auth).toMatchObject({ username: "a", password: "b<" });
    expect(bad.error).toMatch(/^yaml: line/);
    expect(none).toEqual({ mirrors: null, configs: null, auths: null });
  });
});

describe("faults", () => {
  test("kubelet stays dead though the file is good", async () => {
    await server.fault("kubelet-dead", true);
    expect(await restart(server)).toMatchObject({ exitCode: 0 });
    await sleep(1000);
    expect(await server.isHealthy()).toBe(false);
    await server.fault("kubelet-dead", false);
    await distrust(server);
  });

  test("a service that ends at its start fails the restart, and is started again by systemd", async () => {
    await agent.fault("start-fails", true);
    const { exitCode, stderr } = await restart(agent);
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("control process exited"),
    });
    await agent.fault("start-fails", false);
    await agent.untilHealthy();
    expect(await agent.journal()).toContain("Scheduled restart job");
  });

  test("the API server is not ready", async () => {
    await server.fault("api-not-ready", true);
    expect((await server.exec("k3s kubectl get --raw /readyz")).exitCode).toBe(1);
    await server.fault("api-not-ready", false);
    expect((await server.exec("k3s kubectl get --raw /readyz")).exitCode).toBe(0);
  });

  test("a full disk takes nothing more", async () => {
    await agent.fillDisk();
    expect(await agent.freeBytes()).toBe(0);
    expect((await agent.exec("echo more >/etc/rancher/more")).exitCode).not.toBe(0);
    await agent.freeDisk();
    expect(await agent.freeBytes()).toBeGreaterThan(500_000);
  });

  test("a cut SSH connection ends the client, not what it was running", async () => {
    const client = agent.ssh("trap '' HUP PIPE; sleep 2.1; sleep 2; echo done >/tmp/outlived");
    await untilRuns(agent, "sleep 2.1");
    await agent.cutSsh();
    expect((await client).exitCode).toBe(255);
    expect((await agent.ssh("true")).exitCode).toBe(0);
    await vi.waitFor(async () => expect(await agent.exists("/tmp/outlived")).toBe(true), { timeout: 60_000 });
  });

  test("an unplugged node does not answer, and goes on where it was when it is plugged in", async () => {
    const client = agent.ssh("sleep 2.2; echo still here");
    await untilRuns(agent, "sleep 2.2");
    await agent.unplug();
    expect((await agent.ssh("true", { timeout: 2000 })).exitCode).not.toBe(0);
    await agent.plugIn();
    expect((await client).stdout).toBe("still here\n");
  });

  test("processes end with all that they started", async () => {
    const client = server.ssh("sh -c 'sleep 1001 & sleep 1002'");
    await untilRuns(server, "sleep 1001");
    await untilRuns(server, "sleep 1002");
    expect(await server.killTree(/sleep 1001 &/)).toBeGreaterThanOrEqual(3);
    await client;
    expect((await server.processes()).some(({ args }) => args.includes("sleep 100"))).toBe(false);
  });

  test("a reboot keeps disks, empties /run, and starts the service", async () => {
    await trustByHand(server);
    await server.writeFile("/run/gone", "");
    const before = (await server.exec("systemctl show -p MainPID --value k3s")).stdout;
    await server.reboot();
    await server.untilHealthy();
    expect(await server.exists("/run/gone")).toBe(false);
    expect((await server.exec("systemctl show -p MainPID --value k3s")).stdout).not.toBe(before);
    expect(await server.pull(image)).toMatchObject({ ok: true });
    await distrust(server);
  });
});

test("what the stand-ins do not know they refuse, loudly", async () => {
  for (const command of [
    "systemctl status k3s",
    "journalctl -f -u k3s",
    "k3s etcd-snapshot ls",
    "k3s kubectl get nodes",
  ])
    expect(await server.exec(command)).toMatchObject({
      exitCode: 90,
      stderr: expect.stringContaining("does not know"),
    });
});

test("a test run that is killed leaves nothing behind but what the next one removes", async () => {
  const code = `
    import { Fleet } from "${new URL("../nodes/fleet.ts", import.meta.url).pathname}";
    import { nodeTools } from "${new URL("../tools.ts", import.meta.url).pathname}";
    const fleet = await Fleet.start(await nodeTools(), [{ name: "orphan", role: "agent" }]);
    await fleet.node("orphan").exec("setsid sleep 86399.25 >/dev/null 2>&1 &");
    console.log(fleet.gateway);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: ["ignore", "pipe", "inherit"] });
  const [gateway] = (await once(child.stdout, "data")) as [Buffer];
  expect(String(gateway).trim()).not.toBe(fleet.gateway);
  child.kill("SIGKILL");
  await once(child, "exit");
  const next = await Fleet.start(tools, [{ name: "next", role: "agent" }]);
  try {
    expect(next.gateway).toBe(String(gateway).trim());
    const { stdout } = await execa("ps", ["-eo", "args"]);
    expect(stdout.split("\n")).not.toContain("sleep 86399.25");
  } finally {
    await next.stop();
  }
});

/** Until the node has a process of exactly this command line. */
const untilRuns = (node: TestNode, args: string) =>
  vi.waitFor(async () => expect((await node.processes()).map((each) => each.args)).toContain(args), {
    timeout: 60_000,
  });
