import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { ProvenNode } from "../../components/node-trust.ts";
import type { LocalOutputs } from "../../lab/deploy/deploy.ts";
import { Fleet, type TestNode } from "../nodes/fleet.ts";
import { another } from "../nodes/homelab.ts";
import { describePulls, Pullers } from "../nodes/pullers.ts";
import { filesWith, Snoop } from "../nodes/snoop.ts";
import { describeWith } from "../optional.ts";
import { nodeTools } from "../tools.ts";
import { answers, kubectl, lab, type TestStack } from "./cluster.ts";
import { type Forwarder, forward } from "./forwarder.ts";
import { ociImage } from "./images.ts";
import { type Ended, nodeSteps, PulumiStack, told } from "./pulumi-stack.ts";
import { Skopeo } from "./skopeo.ts";

const NAMESPACE = "registry-nodes";
const PORT = 30640;
const NAME = "registry.homelab.test";
const HOST = `${NAME}:${PORT}`;
const IMAGE = `${HOST}/team/app:1.0`;
const FOLDER = "/etc/rancher/k3s";
const FILE = `${FOLDER}/registries.yaml`;
/** K3s writes every login into containerd's own settings at each start: pkg/agent/templates/templates.go. */
const K3S_COPY = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml";
const STACK_TRACE = /^\s+at .+:\d+|node:internal|goroutine \d+|panic:/m;

/**
 * The registry's only pod is replaced, because its users and its certificate change: for some moments there is none. Whoever
 * connects is refused, cut off or left without an answer, which kubelet tries again; no login and no certificate is refused.
 */
const REGISTRY_AWAY =
  /connection refused|connection reset by peer|: EOF|TLS handshake timeout|503 Service Temporarily Unavailable/;

/** As it stands in docs/node-trust.md, of the node k3s-2 of the stack homelab. */
const FORGET =
  "pulumi state delete 'urn:pulumi:homelab::homecloud::homecloud:index:NodeTrust$command:remote:Command::node-trust-k3s-2'";

/** A person's own words for a node, as nodeTrust.nodes takes them. */
type NodeEntry = Record<string, unknown> & { name: string };

describeWith("pulumi", "NodeTrust with Pulumi's engine", () => {
  let fleet: Fleet;
  let forwarder: Forwarder;
  let stack: PulumiStack;
  /** Every secret that there ever was. */
  const secrets = new Set<string>();
  /** The settings as they are now. Each test goes on where the one before it ended. */
  const program = {
    tls: { mode: "private-ca", generation: 1 },
    registry: {
      ...{ namespace: NAMESPACE, storage: "256Mi", reserve: "32Mi", keepFree: "64Mi", localRegistryHosting: false },
      ...{ pullUserGeneration: 1, keepFormerPullUser: true },
    },
    trust: { timeLimits: { connect: 5, check: 10, restart: 10, proof: 10, lock: 5 } } as object,
    nodes: [] as NodeEntry[],
  };

  beforeAll(async () => {
    // Of a run that was killed: generations never go back.
    await kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found");
    fleet = await Fleet.start(await nodeTools(), [
      { name: "server-1", role: "server" },
      { name: "agent-1", role: "agent" },
      { name: "agent-2", role: "agent", user: "homelab", shell: "busybox" },
    ]);
    await fleet.addHost(NAME, fleet.gateway);
    forwarder = await forward(fleet.gateway, PORT);
    stack = await PulumiStack.init("nodes", { ...lab.env, KUBECONFIG: lab.kubeconfig });
  });
  afterEach(async () => {
    for (const node of fleet.nodes) await node.plugIn();
    await stack.sweep();
  });
  afterAll(async () => {
    await stack?.pulumi(["destroy", "--yes", "--skip-preview"]);
    await stack?.remove();
    await forwarder?.stop();
    await fleet?.stop();
    await kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found");
  });

  const described = (node: TestNode): NodeEntry => ({
    ...{ name: node.name, host: node.address, role: node.role, hostKey: node.hostKey },
    ...(node.user === "root" ? {} : { user: node.user, become: "sudo" }),
  });
  /** All nodes but these. */
  const without = (...names: string[]) => fleet.nodes.filter(({ name }) => !names.includes(name)).map(described);

  /** Changes the settings, here and in the stack's file. */
  async function set(change: { tls?: object; registry?: object; trust?: object; nodes?: NodeEntry[] }): Promise<void> {
    Object.assign(program.tls, change.tls);
    Object.assign(program.registry, change.registry);
    program.trust = { ...program.trust, ...change.trust };
    program.nodes = change.nodes ?? program.nodes;
    await stack.configure({
      "homecloud:tls": program.tls,
      "homecloud:access": { mode: "node-port", port: PORT, hosts: [NAME, "127.0.0.1"] },
      "homecloud:registry": program.registry,
      "homecloud:registryUi": { enabled: false },
      "homecloud:localstack": { enabled: false },
      "homecloud:nodeTrust": { ...program.trust, nodes: program.nodes },
    });
  }

  const tryUp = (...options: string[]): Promise<Ended> => stack.pulumi(["up", "--yes", "--skip-preview", ...options]);

  /** When the last `pulumi up` began, and how long it took, in milliseconds. */
  const lastUp = { began: 0, took: 0 };

  /** `pulumi up`, and what it did to nodes. */
  async function up(...options: string[]): Promise<string[]> {
    lastUp.began = Date.now();
    const ended = await tryUp(...options);
    expect(ended.exitCode, ended.all).toBe(0);
    const steps = nodeSteps(ended);
    lastUp.took = Date.now() - lastUp.began;
    console.log(`up ${options.join(" ")}: ${steps.join(", ") || "no node"}; ${ended.seconds.toFixed(0)} s`);
    await deployed();
    return steps;
  }

  /** The stack's outputs, for clients on this machine: they reach the registry's port on loopback. */
  async function deployed(): Promise<TestStack> {
    const { stdout } = await stack.pulumi(["stack", "output", "--json", "--show-secrets"]);
    const outputs = JSON.parse(stdout) as LocalOutputs;
    for (const secret of [outputs.registryPassword, outputs.registryPullPassword]) secrets.add(secret);
    const caFolder = join(stack.folder, "ca");
    await mkdir(caFolder, { recursive: true });
    await writeFile(join(caFolder, "ca.crt"), outputs.caCertificate);
    const here = { registryHost: `127.0.0.1:${PORT}`, registryUrl: `https://127.0.0.1:${PORT}` };
    return { namespace: NAMESPACE, outputs: { ...outputs, ...here }, caFolder, caFile: join(caFolder, "ca.crt") };
  }

  async function push(): Promise<void> {
    const here = await deployed();
    await answers(here);
    const { folder } = await ociImage();
    const { exitCode, stderr } = await new Skopeo(here).push(`oci:${folder}:1.0`, "team/app:1.0");
    await rm(folder, { recursive: true });
    expect(exitCode, stderr).toBe(0);
  }

  async function expectPulls(nodes = fleet.nodes): Promise<void> {
    for (const node of nodes) {
      const { ok, output } = await node.pull(IMAGE);
      expect(ok, `${node.name}: ${output}`).toBe(true);
    }
  }

  /** Nothing of homecloud's is left, and the node is well. */
  async function expectRestored(node: TestNode): Promise<void> {
    expect((await node.exec(`find ${FOLDER} -type f ! -name k3s.yaml`)).stdout, node.name).toBe("");
    expect(await node.exists(`${FOLDER}/homecloud`)).toBe(false);
    expect(await node.isHealthy()).toBe(true);
    expect((await node.pull(IMAGE)).output).toContain("x509");
  }

  /** Which run of its service this is. */
  const runOf = async (node: TestNode) =>
    (await node.exec(`systemctl show -p MainPID --value ${node.service}`)).stdout.trim();

  /** What nodes that nobody has touched still have: the run of the service, and the file. */
  function asIs(...names: string[]): Promise<string[]> {
    const nodes = names.map((name) => fleet.node(name));
    return Promise.all(nodes.map(async (node) => `${node.name} ${await runOf(node)} ${await node.readFile(FILE)}`));
  }

  describe("from nothing", () => {
    test("the SSH key is set as the documentation says", async () => {
      await set({ nodes: fleet.nodes.map(described) });
      for (const line of keyLines(fleet.privateKey)) secrets.add(line);
      const { exitCode, all } = await stack.pulumi(
        ["config", "set", "--secret", "nodeSshPrivateKey"],
        fleet.privateKey,
      );
      expect(exitCode, all).toBe(0);
    });

    test("up: the canary, the other agents, the server, one after the other; every node pulls", async () => {
      expect(await up()).toEqual([
        ...["creating agent-1", "created agent-1", "creating agent-2", "created agent-2"],
        ...["creating server-1", "created server-1"],
      ]);
      await push();
      await expectPulls();
    });

    test("the output names every node, what it trusts and when that was proven, and is no secret", async () => {
      const { stdout, exitCode, all } = await stack.pulumi(["stack", "output", "trustedNodes"]);
      expect(exitCode, all).toBe(0);
      console.log(stdout);
      const nodes = JSON.parse(stdout) as ProvenNode[];
      expect(nodes.map(({ name, host }) => [name, host])).toEqual(
        ["agent-1", "agent-2", "server-1"].map((name) => [name, fleet.node(name).address]),
      );
      for (const { trusts, provenAt = "" } of nodes) {
        expect(trusts).toEqual([HOST]);
        // The node's time is in whole seconds.
        expect(Date.parse(provenAt)).toBeGreaterThanOrEqual(Math.floor(lastUp.began / 1000) * 1000);
      }
      const times = nodes.map(({ provenAt }) => provenAt);
      expect(times).toEqual(times.toSorted());
    });

    test("a second up changes nothing, and a preview expects none", async () => {
      const before = await asIs("agent-1", "agent-2", "server-1");
      expect(await up()).toEqual([]);
      const preview = await stack.pulumi(["preview", "--expect-no-changes"]);
      expect(preview.exitCode, preview.all).toBe(0);
      expect(await asIs("agent-1", "agent-2", "server-1")).toEqual(before);
    });
  });

  describe("secrets", () => {
    test("no process of a node shows the pull password while it is changed", async () => {
      await set({ trust: another("watched") });
      for (const options of [[], ["--diff"]]) {
        const preview = await stack.pulumi(["preview", ...options]);
        expect(preview.exitCode, preview.all).toBe(0);
        expect(preview.all).toContain("node-trust-agent-1");
      }
      const { registryPullPassword } = (await deployed()).outputs;
      const snoops = await Promise.all(fleet.nodes.map((node) => Snoop.start(node, registryPullPassword)));
      const changed = await tryUp("--diff");
      const seen = await Promise.all(snoops.map((snoop) => snoop.stop()));
      expect(changed.exitCode, changed.all).toBe(0);
      expect(changed.all).toContain("node-trust-agent-1");
      for (const { bySampling, byStart, looks, programs } of seen) {
        console.log(`looked ${looks} times; starts looked at: ${programs.join(" ")}`);
        expect([...bySampling, ...byStart]).toEqual([]);
        expect(looks).toBeGreaterThan(10);
        expect(programs).toEqual(expect.arrayContaining(["curl", "k3s", "systemctl"]));
      }
      expect(nodeSteps(await tryUp())).toEqual([]);
    });

    test("the pull password is in registries.yaml, in what K3s makes of it, and nowhere else on a node", async () => {
      const { registryPullPassword } = (await deployed()).outputs;
      for (const node of fleet.nodes) {
        expect(await filesWith(node, registryPullPassword), node.name).toEqual([FILE, K3S_COPY]);
        expect((await node.exec(`stat -c '%a %U' ${FILE}`)).stdout).toBe("600 root\n");
        expect(await filesWith(node, ...keyLines(fleet.privateKey)), node.name).toEqual([]);
      }
    });

    test("state, history and logs of the engine hold none, and a state is exported without any", async () => {
      expect((await stack.pulumi(["stack", "export"])).stdout).toContain("node-trust-agent-1");
      await expectNothingShown();
    });
  });

  /** Of all that the engine has printed and written until now. */
  async function expectNothingShown(): Promise<void> {
    expect(secrets.size).toBeGreaterThan(4);
    for (const secret of secrets) expect(stack.printed.includes(secret), "a secret was printed").toBe(false);
    const input = [...secrets].join("\n");
    const found = await execa("grep", ["-rlF", "-f", "-", stack.folder], { input, reject: false });
    expect(found).toMatchObject({ exitCode: 1, stdout: "" });
  }

  describe("a new pull user and a new CA at once", () => {
    let former: { name: string; password: string };

    test("nodes change in place, and whoever is up pulls all the time", async () => {
      const { outputs } = await deployed();
      former = { name: outputs.registryPullUser, password: outputs.registryPullPassword };
      await set({ registry: { pullUserGeneration: 2 }, tls: { generation: 2 } });
      const pullers = await Pullers.start(fleet.nodes, IMAGE);
      const steps = await up();
      const pulls = await pullers.take(3);
      await pullers.stop();
      console.log(describePulls(pulls));
      expect(steps).toEqual(
        ["agent-1", "agent-2", "server-1"].flatMap((name) => [`updating ${name}`, `updated ${name}`]),
      );
      for (const [node, { ok, failed, longestGap }] of pulls) {
        expect(ok, node).toBeGreaterThan(10);
        expect(
          failed.filter((output) => !REGISTRY_AWAY.test(output)),
          node,
        ).toEqual([]);
        expect(longestGap, "one node after the other").toBeLessThan(lastUp.took / 2);
      }
      await expectPulls();
    });

    test("then the former pull user is out, and all nodes pull", async () => {
      expect(await status(former)).toBe("200");
      await set({ registry: { keepFormerPullUser: false } });
      expect(await up()).toEqual([]);
      const here = await deployed();
      await answers(here);
      await expectPulls();
      expect(await status(former)).toBe("401");
      expect(await status({ name: here.outputs.registryPullUser, password: here.outputs.registryPullPassword })).toBe(
        "200",
      );
    });
  });

  /** What the registry answers this user. */
  async function status({ name, password }: { name: string; password: string }): Promise<string> {
    const { caFile, outputs } = await deployed();
    const options = ["--silent", "--cacert", caFile, "--output", "/dev/null", "--write-out", "%{http_code}"];
    const input = `user = "${name}:${password}"\n`;
    return (await execa("curl", ["--config", "-", ...options, `${outputs.registryUrl}/v2/`], { input })).stdout;
  }

  describe("the list of nodes", () => {
    test("a node that is taken out has its former state back, the others are left alone", async () => {
      const before = await asIs("agent-1", "server-1");
      await set({ nodes: without("agent-2") });
      expect(await up()).toEqual(["deleting agent-2", "deleted agent-2"]);
      await expectRestored(fleet.node("agent-2"));
      expect(await asIs("agent-1", "server-1")).toEqual(before);
      await expectPulls([fleet.node("agent-1"), fleet.node("server-1")]);
    });

    test("added again, it is trusted again", async () => {
      const before = await asIs("agent-1", "server-1");
      await set({ nodes: without() });
      expect(await up()).toEqual(["creating agent-2", "created agent-2"]);
      expect(await asIs("agent-1", "server-1")).toEqual(before);
      await expectPulls();
    });

    test("under another name it goes on pulling, and is not restarted", async () => {
      const node = fleet.node("agent-1");
      const before = await runOf(node);
      await set({ nodes: [...without("agent-1"), { ...described(node), name: "renamed" }] });
      expect(await up()).toEqual(["creating renamed", "created renamed", "deleting agent-1", "deleted agent-1"]);
      expect(await runOf(node)).toBe(before);
      expect((await node.readFile(FILE)).split("\n")[0]).toContain("node renamed:");
      await expectPulls();
      await set({ nodes: without() });
      expect(await up()).toEqual(["creating agent-1", "created agent-1", "deleting renamed", "deleted renamed"]);
      expect(await runOf(node)).toBe(before);
      await expectPulls();
    });

    test("another port, user and address of the same machine", async () => {
      const node = fleet.node("agent-2");
      const address = node.address.replace(/\d+$/, "99");
      await node.exec(`ip address add ${address}/24 dev eth0; mkdir -p /root/.ssh
cp /home/homelab/.ssh/authorized_keys /root/.ssh; chown -R root:root /root/.ssh
printf 'Port 22\\nPort 2222\\n' >>/etc/ssh/sshd_config; systemctl restart ssh`);
      const before = await asIs("agent-1", "agent-2", "server-1");
      const { user, become, ...rest } = described(node);
      for (const entry of [
        { ...described(node), port: 2222 },
        { ...rest, port: 2222 },
        { ...rest, host: address },
      ]) {
        await set({ nodes: [...without("agent-2"), entry] });
        expect(await up()).toEqual(["updating agent-2", "updated agent-2"]);
      }
      expect(await asIs("agent-1", "agent-2", "server-1")).toEqual(before);
      await set({ nodes: without() });
    });
  });

  describe("a canary that does not take the change", () => {
    const canary = () => fleet.node("agent-1");

    /** What up says when it fails, and that it stopped where it failed. */
    async function failingUp(): Promise<string> {
      const before = await asIs("agent-2", "server-1");
      const ended = await tryUp();
      console.log(told(ended));
      expect(ended.exitCode).not.toBe(0);
      expect(nodeSteps(ended)).toEqual(["updating agent-1", "updating failed agent-1"]);
      expect(ended.all).not.toMatch(STACK_TRACE);
      expect(await asIs("agent-2", "server-1")).toEqual(before);
      await expectPulls([fleet.node("agent-2"), fleet.node("server-1")]);
      return ended.all;
    }

    test("K3s does not start there", async () => {
      const former = await canary().readFile(FILE);
      await set({ trust: another("broken") });
      await canary().fault("start-fails", true);
      const all = await failingUp();
      await canary().fault("start-fails", false);
      expect(all).toMatch(/Command \(node-trust-agent-1\):/);
      expect(all).toContain("agent-1: restarting k3s-agent");
      expect(all).toContain("agent-1 failed: the restart of k3s-agent did not end well within 10 s");
      expect(all).toContain("the fault start-fails is on");
      expect(all).toContain("What was there before is back, but k3s-agent is not running even so");
      expect(await canary().readFile(FILE)).toBe(former);
      expect(await up()).toHaveLength(6);
      await expectPulls();
    });

    test("the name does not resolve there", async () => {
      const hosts = await canary().readFile("/etc/hosts");
      const before = await asIs("agent-1");
      await set({ trust: another("unresolved") });
      await canary().writeFile("/etc/hosts", "127.0.0.1 localhost\n");
      const all = await failingUp();
      await canary().writeFile("/etc/hosts", hosts);
      expect(all).toContain("agent-1: checking name, certificate and login");
      expect(all).toMatch(/agent-1 failed: the name in https:\S+ does not resolve on the node.* Nothing was changed/);
      expect(await asIs("agent-1")).toEqual(before);
      expect(await up()).toHaveLength(6);
      await expectPulls();
    });

    test("another machine answers there, or one that does not let the key in", async () => {
      const before = await asIs("agent-1");
      await set({ nodes: [...without("agent-1"), { ...described(canary()), hostKey: fleet.node("agent-2").hostKey }] });
      expect(await failingUp()).toMatch(
        /\(node-trust-agent-1\):\s+error: after 3 failed attempts: ssh: handshake failed: ssh: host key mismatch/,
      );
      await set({ nodes: without(), trust: another("locked-out") });
      await canary().exec("mv /root/.ssh/authorized_keys /root/.ssh/away");
      expect(await failingUp()).toMatch(
        /\(node-trust-agent-1\):\s+error: after 3 failed attempts: ssh: handshake failed: ssh: unable to authenticate/,
      );
      await canary().exec("mv /root/.ssh/away /root/.ssh/authorized_keys");
      expect(await asIs("agent-1")).toEqual(before);
      expect(await up()).toHaveLength(6);
    });
  });

  async function expectUnreachable(ended: Ended): Promise<void> {
    console.log(told(ended), `${ended.seconds.toFixed(0)} s`);
    expect(ended.exitCode).not.toBe(0);
    expect(ended.all).toMatch(/Command \(node-trust-agent-1\):\s+error: after 3 failed attempts: dial tcp [\d.]+:22: /);
    expect(ended.all).not.toMatch(STACK_TRACE);
  }

  /** Has the engine forget a node, in the documentation's words. */
  async function forget(node: string): Promise<Ended> {
    const line = FORGET.replace("k3s-2", node).replace(":homelab:", `:${stack.name}:`);
    const ended = await stack.shell(line);
    console.log(`$ ${line}\n${ended.all}`);
    return ended;
  }

  describe("a node that cannot be reached, the canary at that", () => {
    test("a change ends with an error before any other node", async () => {
      const before = await asIs("agent-2", "server-1");
      await set({ trust: another("unplugged") });
      await fleet.node("agent-1").unplug();
      const ended = await tryUp();
      await expectUnreachable(ended);
      expect(nodeSteps(ended)).toEqual(["updating agent-1", "updating failed agent-1"]);
      expect(await asIs("agent-2", "server-1")).toEqual(before);
      expect((await forget("agent-1")).all).toMatch(/can't be safely deleted because .* depend on it/);
    });

    test("taken out of the list it ends with an error after all others; then it can be forgotten", async () => {
      await fleet.node("agent-1").unplug();
      await set({ nodes: without("agent-1") });
      const ended = await tryUp();
      await expectUnreachable(ended);
      expect(nodeSteps(ended)).toEqual([
        ...["agent-2", "server-1"].flatMap((name) => [`updating ${name}`, `updated ${name}`]),
        ...["deleting agent-1", "deleting failed agent-1"],
      ]);
      expect((await forget("agent-1")).exitCode).toBe(0);
      expect(await up()).toEqual([]);
    });

    test("the documentation says how", async () => {
      expect(await readFile(resolve(import.meta.dirname, "../../docs/node-trust.md"), "utf8")).toContain(
        `\n${FORGET}\n`,
      );
    });

    test("back again, it is added as any other", async () => {
      await set({ nodes: without() });
      expect(await up()).toEqual(["creating agent-1", "created agent-1"]);
      await expectPulls();
    });
  });

  describe("an up that is cut off", () => {
    const canary = () => fleet.node("agent-1");
    const UP = ["up", "--yes", "--skip-preview"];

    /** An up that is changing the canary, which takes a while. */
    async function inTheMiddle(change: object, step = "updating") {
      await canary().startDelay(6000);
      await set(change);
      const running = stack.start(UP);
      await running.says(new RegExp(`node-trust-agent-1 ${step}`));
      await sleep(2500);
      return running;
    }

    /** Waits until nothing of homecloud's is at work there any more. */
    async function settled(): Promise<void> {
      await canary().exec("timeout 60 flock /run/homecloud-node-trust.lock true");
      await canary().untilHealthy();
      await canary().startDelay(300);
    }

    test("by Ctrl-C: the node that it is at is finished, no other is begun, and the next up goes on", async () => {
      const before = await asIs("agent-2", "server-1");
      const running = await inTheMiddle({ trust: another("ctrl-c") });
      running.interrupt();
      const ended = await running.ended;
      console.log(told(ended));
      expect(ended.exitCode).not.toBe(0);
      expect(nodeSteps(ended)).toEqual(["updating agent-1", "updated agent-1"]);
      await settled();
      expect(await asIs("agent-2", "server-1")).toEqual(before);
      await expectPulls();
      expect(await up()).toEqual(["updating agent-2", "updated agent-2", "updating server-1", "updated server-1"]);
    });

    test("by kill -9: the node ends its run by itself, pulumi cancel frees the stack, and the next up goes on", async () => {
      const running = await inTheMiddle({ trust: another("killed") });
      running.kill();
      const locked = await tryUp();
      expect(locked.exitCode).not.toBe(0);
      expect(locked.all).toMatch(/the stack is currently locked by 1 lock.*`pulumi cancel`/);
      await settled();
      await expectPulls();
      expect((await stack.pulumi(["cancel"])).exitCode).toBe(0);
      const next = await tryUp();
      console.log(told(next));
      expect(next.exitCode, next.all).toBe(0);
      expect(next.all).toMatch(/node-trust-agent-1, interrupted while updating/);
      expect(nodeSteps(next)).toHaveLength(6);
      expect(await pending()).toEqual([]);
      await expectPulls();
    });

    test("by a lost connection, then taken back: proofGeneration mends what Pulumi does not know of", async () => {
      const former = await canary().readFile(FILE);
      const { trust } = program;
      const running = await inTheMiddle({ trust: another("lost") });
      await canary().cutSsh();
      const ended = await running.ended;
      console.log(told(ended));
      expect(ended.all).toContain("remote command exited without exit status or exit signal");
      await settled();
      expect(await canary().readFile(FILE)).toContain("lost.test");
      const before = await asIs("agent-2", "server-1");
      await set({ trust: { ...trust, proofGeneration: 2 } });
      expect(await up()).toHaveLength(6);
      expect(await canary().readFile(FILE)).toBe(former);
      expect(await asIs("agent-2", "server-1")).toEqual(before);
      await expectPulls();
    });

    test("by kill -9 while it takes a node out and while it makes one, which is pending until it is cleared", async () => {
      const removing = await inTheMiddle({ nodes: without("agent-1") }, "deleting");
      removing.kill();
      await settled();
      expect((await stack.pulumi(["cancel"])).exitCode).toBe(0);
      expect(await up()).toEqual(["deleting agent-1", "deleted agent-1"]);
      await expectRestored(canary());
      expect(await pending()).toEqual([]);

      const making = await inTheMiddle({ nodes: without() }, "creating");
      making.kill();
      await settled();
      expect((await stack.pulumi(["cancel"])).exitCode).toBe(0);
      expect(await up()).toEqual(["creating agent-1", "created agent-1"]);
      await expectPulls();
      expect(await pending()).toEqual(["creating"]);
      const refresh = await stack.pulumi(["refresh", "--yes", "--skip-preview", "--clear-pending-creates"]);
      expect(refresh.exitCode, refresh.all).toBe(0);
      expect(await pending()).toEqual([]);
      expect(await up()).toEqual([]);
    });

    async function pending(): Promise<string[]> {
      const { stdout } = await stack.pulumi(["stack", "export"]);
      const { deployment } = JSON.parse(stdout) as { deployment: { pending_operations?: { type: string }[] } };
      return (deployment.pending_operations ?? []).map(({ type }) => type);
    }
  });

  describe("destroy", () => {
    test("the nodes first, the canary last of them, then the registry", async () => {
      const ended = await stack.pulumi(["destroy", "--yes", "--skip-preview"]);
      expect(ended.exitCode, ended.all).toBe(0);
      console.log(nodeSteps(ended).join(", "), `${ended.seconds.toFixed(0)} s`);
      expect(nodeSteps(ended)).toEqual(
        ["server-1", "agent-2", "agent-1"].flatMap((name) => [`deleting ${name}`, `deleted ${name}`]),
      );
      const lines = ended.all.split("\n");
      // Not what only tells of them, and so comes after them and goes before.
      const firstOther = lines.findIndex((line) =>
        /(kubernetes|random|tls):\S+ (?!trusted-nodes )\S+ deleting/.test(line),
      );
      expect(firstOther).toBeGreaterThan(lines.findLastIndex((line) => /node-trust-agent-1 deleted/.test(line)));
      // The registry is gone: no pull says any more whom a node trusts.
      for (const node of fleet.nodes) {
        expect((await node.exec(`find ${FOLDER} -type f ! -name k3s.yaml`)).stdout, node.name).toBe("");
        expect(await node.isHealthy()).toBe(true);
      }
    });

    test("a node that is gone: an error in time, and the rest once it is forgotten", async () => {
      expect(await up()).toHaveLength(6);
      await expectPulls();
      await fleet.node("agent-1").unplug();
      await expectUnreachable(await stack.pulumi(["destroy", "--yes", "--skip-preview"]));
      expect((await forget("agent-1")).exitCode).toBe(0);
      const ended = await stack.pulumi(["destroy", "--yes", "--skip-preview"]);
      expect(ended.exitCode, ended.all).toBe(0);
    });

    test("nothing that was printed or written in all this time shows a secret", expectNothingShown);
  });
});

/** Lines of an SSH key that are its own: the first one is the same in all of its kind. */
function keyLines(key: string): string[] {
  const body = key.split("\n").filter((line) => line.length > 20 && !line.startsWith("-----"));
  return body.slice(1);
}
