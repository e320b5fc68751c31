import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { RegistryUser } from "../../components/registry/htpasswd.ts";
import type { TestNode } from "../nodes/fleet.ts";
import { another, Homelab, type Program } from "../nodes/homelab.ts";
import { makeCa } from "../nodes/private-registry.ts";
import { commandsOf } from "../nodes/small-engine.ts";
import { filesWith, type Seen, Snoop } from "../nodes/snoop.ts";
import { nodeTools } from "../tools.ts";

/** The password of the user who pulls is in one file of the node's, and in what K3s itself makes of that. Nowhere else, ever. */
let homelab: Homelab;

const FILE = "/etc/rancher/k3s/registries.yaml";
/** Real K3s too writes logins there, below a folder that is root's alone. */
const OF_K3S = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml";
const NODES = ["server", "agent", "guest"];

const login = user("puller-1");

beforeAll(async () => {
  homelab = await Homelab.start(await nodeTools(), [
    { name: "server", role: "server" },
    { name: "agent", role: "agent", shell: "busybox" },
    { name: "guest", role: "agent", user: "homelab" },
    { name: "plain", role: "agent", distribution: "containerd" },
  ]);
  await homelab.registry.letIn(login);
});
afterAll(async () => {
  await homelab?.stop();
});

function user(name: string, password = `secret-${randomBytes(18).toString("base64url")}`): RegistryUser {
  return { name, password, salt: randomBytes(16).toString("base64") };
}

/** The password, and what a header of HTTP makes of it. */
const formsOf = ({ name, password }: RegistryUser) => [
  password,
  Buffer.from(`${name}:${password}`).toString("base64"),
  Buffer.from(password).toString("base64"),
];

function expectHidden(output: string, { name, password }: RegistryUser = login): void {
  for (const form of formsOf({ name, password, salt: "" })) expect(output).not.toContain(form);
}

async function run(node: TestNode, action: "create" | "delete", program: Program, heard?: (text: string) => void) {
  return homelab.run(node.name, action, { login, ...program }, heard);
}

async function expectRun(node: TestNode, action: "create" | "delete", program: Program): Promise<string> {
  const { exitCode, all } = await run(node, action, program);
  expect(exitCode, all).toBe(0);
  expectHidden(all);
  return all;
}

function expectUnseen({ bySampling, byStart, looks, programs }: Seen, when: string): void {
  console.log(`${when}: looked ${looks} times; starts looked at: ${programs.join(" ")}`);
  expect(looks).toBeGreaterThan(10);
  expect(bySampling, when).toEqual([]);
  expect(byStart, when).toEqual([]);
}

async function modeOf(node: TestNode, path: string): Promise<string> {
  return (await node.exec(`stat -c '%a %U' ${path}`)).stdout.trim();
}

describe("who looks on", () => {
  test("sees what is given to a command, however short it lives", async () => {
    const node = homelab.node("server");
    const snoop = await Snoop.start(node, "well-known");
    await node.exec("timeout 5 sleep 1 well-known; word=well-known date");
    const { byStart, bySampling } = await snoop.stop();
    expect(byStart.join()).toMatch(/start-timeout-.*/);
    expect(byStart.join()).toMatch(/start-date-.*/);
    expect(bySampling.join()).toMatch(/environ|cmdline/);
    await node.exec("echo well-known >/usr/share/x; echo well-known >/etc/x; echo well-known >/tmp/x");
    expect(await filesWith(node, "well-known")).toHaveLength(3);
    await node.exec("rm /usr/share/x /etc/x /tmp/x");
  });

  test.each(NODES)("on %s finds the password in no process while it is written, proven and removed", async (name) => {
    const node = homelab.node(name);
    await node.startDelay(1500);
    const snoop = await Snoop.start(node, login.password);
    await expectRun(node, "create", {});
    await expectRun(node, "create", { settings: another("a") });
    await expectRun(node, "create", { settings: another("a") });
    const afterwards = await filesWith(node, ...formsOf(login));
    const modes = await Promise.all([FILE, OF_K3S, "/var/lib/rancher/k3s/agent"].map((path) => modeOf(node, path)));
    await expectRun(node, "delete", {});
    const seen = await snoop.stop();
    await node.startDelay(300);
    expectUnseen(seen, name);
    expect(afterwards).toEqual([FILE, OF_K3S]);
    expect(modes).toEqual(["600 root", "600 root", "700 root"]);
    expect(await filesWith(node, ...formsOf(login))).toEqual([]);
  });

  test("finds the key of the SSH user nowhere", async () => {
    // The lines before are the same in every key.
    const line = homelab.fleet.privateKey.trim().split("\n").at(-2) ?? "";
    for (const name of NODES) {
      const node = homelab.node(name);
      const snoop = await Snoop.start(node, line);
      await expectRun(node, "create", {});
      expectUnseen(await snoop.stop(), `${name}, for the key`);
      expect(await filesWith(node, line)).toEqual([]);
    }
  });

  test("finds nothing of the login on a node of mode hosts-toml, which has no use for it", async () => {
    const node = homelab.node("plain");
    const [command] = await commandsOf(homelab.args({ login, nodes: ["plain"] }));
    expectHidden(String(command?.inputs.stdin));
    const snoop = await Snoop.start(node, login.password);
    await expectRun(node, "create", {});
    expectUnseen(await snoop.stop(), "plain");
    expect(await filesWith(node, ...formsOf(login))).toEqual([]);
    await expectRun(node, "delete", {});
  });
});

test("a changed password leaves nothing of the former one", async () => {
  const node = homelab.node("server");
  await expectRun(node, "create", {});
  const next = user("puller-2");
  await homelab.registry.letIn(login, next);
  const { exitCode, all } = await homelab.run("server", "create", { login: next });
  expect(exitCode, all).toBe(0);
  expectHidden(all, next);
  expect(await filesWith(node, ...formsOf(login))).toEqual([]);
  expect(await filesWith(node, ...formsOf(next))).toEqual([FILE, OF_K3S]);
  await expectRun(node, "create", {});
  expect(await filesWith(node, ...formsOf(next))).toEqual([]);
});

describe.each(["server", "agent"])("what a failing run on a %s says", (name) => {
  let node: TestNode;
  beforeAll(async () => {
    node = homelab.node(name);
    await expectRun(node, "create", {});
  });
  /** What a failing run may have left for the next one, the next one clears away. */
  afterEach(async () => {
    await node.freeDisk();
    for (const fault of ["kubelet-dead", "start-fails"] as const) await node.fault(fault, false);
    await node.exec(`rm -f /var/log/journal/${node.service}`);
    await expectRun(node, "create", {});
    expect(await filesWith(node, ...formsOf(login))).toEqual([FILE, OF_K3S]);
  });

  async function failing(program: Program, heard?: (text: string) => void): Promise<string> {
    const { exitCode, all } = await run(node, "create", { settings: another("b"), ...program }, heard);
    expect(exitCode, all).toBe(1);
    expectHidden(all);
    return all;
  }

  test("of a login that is refused", async () => {
    const wrong = user("puller-1");
    expectHidden(await failing({ login: wrong }), wrong);
    expect(await filesWith(node, ...formsOf(wrong))).toEqual([]);
  });

  test("of a CA that does not vouch", async () => {
    await failing({ ca: (await makeCa("another")).certPem });
  });

  test("of a full disk", async () => {
    await node.fillDisk();
    await failing({});
  });

  test("of a service that does not start", async () => {
    await node.fault("start-fails", true);
    await failing({});
  });

  test("of a rollback, where the service's journal quotes what nobody may see", async () => {
    await node.fault("kubelet-dead", true);
    const all = await failing({ settings: { configs: OTHER } }, (text) => {
      if (text.includes("putting back")) void node.fault("kubelet-dead", false);
      if (text.includes("proving")) void plant(node, [`with "${login.password}"`, TOKEN, "as any other"]);
    });
    expect(all).toMatch(/\(a line with .* is not shown\)/);
    expect(all).toContain("as any other");
    expect(all, "another registry's token").not.toContain(TOKEN);
  });
});

/** The login of a registry that is not the stack's own. */
const TOKEN = `token-${randomBytes(12).toString("base64url")}`;
const OTHER = { "ghcr.io": { auth: { username: "me", password: TOKEN } } };

/** Writes lines to the journal of the node's service, as it might itself. */
async function plant(node: TestNode, lines: string[]): Promise<void> {
  const input = lines.map((line) => `${(Date.now() + 60_000) * 1000} ${line}\n`).join("");
  await node.exec(`cat >>/var/log/journal/${node.service}`, { input });
}

describe("a run that is killed", () => {
  /** The steps that a run says, as it says them. */
  async function steps(node: TestNode, action: "create" | "delete", program: Program): Promise<string[]> {
    return (await expectRun(node, action, program)).split("\n").filter((line) => line.startsWith(`${node.name}: `));
  }

  /** Files with a password that are neither the file itself nor K3s's own, each with its mode and folder. */
  async function strays(node: TestNode): Promise<string[]> {
    const found = (await filesWith(node, ...formsOf(login))).filter((path) => path !== FILE && path !== OF_K3S);
    return Promise.all(found.map(async (path) => `${await modeOf(node, path)} ${path}`));
  }

  test.each(["server", "agent"])(
    "at any step on a %s leaves the password to root, and the next one clears it away",
    async (name) => {
      const node = homelab.node(name);
      let count = 0;
      await expectRun(node, "create", {});
      const left = new Set<string>();
      for (const step of await steps(node, "create", { settings: another("first") })) {
        const program = { settings: another(`killed-${count++}`) };
        let killed: Promise<unknown> | undefined;
        await run(node, "create", program, (text) => {
          if (text.includes(step)) killed ??= node.killTree(/^(sh|dash|busybox|\S*\/sh) -s /);
        });
        await killed;
        for (const stray of await strays(node)) {
          expect(stray, step).toMatch(/^600 root \/etc\/rancher\/k3s\//);
          left.add(stray);
        }
        await node.untilHealthy();
        await expectRun(node, "create", program);
        expect(await strays(node), step).toEqual([]);
      }
      console.log(`${name}: after a kill there was once: ${[...left].join(", ") || "nothing"}`);
    },
  );

  test("at any moment", async () => {
    const node = homelab.node("server");
    const left = new Set<string>();
    for (let moment = 0; moment < 14; moment++) {
      const running = run(node, "create", { settings: another(`moment-${moment}`) });
      await sleep(150 + moment * 60);
      await node.killTree(/^sh -s /);
      await running;
      for (const stray of await strays(node)) {
        expect(stray).toMatch(/^600 root \/etc\/rancher\/k3s\//);
        left.add(stray);
      }
      await node.untilHealthy();
    }
    await expectRun(node, "create", {});
    expect(await strays(node)).toEqual([]);
    console.log(`at any moment: ${[...left].join(", ") || "nothing"}`);
  });
});

/** None of them is text that some program on the way could take for something else. */
const HOSTILE = {
  "both quotes": `it's a "word"`,
  backslashes: "\\ \\n \\\\ \\x41 \\",
  "a shell's": "$(touch /pwned) `touch /pwned` $HOME ; & | > < * ? ~ !",
  "spaces at both ends": "  a b  ",
  formats: "%s%n%d %% {{ .x }} \\u0041",
  "YAML and TOML": "yes: &a *b !c #d - e, [f] {g} '''h''' \"\"\"i\"\"\" @ |",
  colons: "user:pa:ss:",
  "other scripts": "é日本語😀\u00a0\u202e\u2028ñ",
  "a dash, as an option": "-K /etc/passwd --insecure",
  "a comment's beginning": "# no password",
  "as long as it gets": "x".repeat(71),
};

describe("a password of hostile characters", () => {
  test.each(Object.entries(HOSTILE))("%s", async (_, password) => {
    const hostile = user("puller-1", password);
    await homelab.registry.letIn(hostile);
    for (const name of ["server", "agent"]) {
      const told = await homelab.run(name, "create", { login: hostile });
      expect(told.exitCode, told.all).toBe(0);
      expect(told.stdout).toMatch(/ restarted$/);
      const { ok, output } = await homelab.node(name).pull(homelab.image);
      expect(ok, output).toBe(true);
      expect(await homelab.node(name).exists("/pwned")).toBe(false);
    }
    const almost = { ...hostile, password: `${password.slice(0, -1)}_` };
    const { all } = await homelab.run("agent", "create", { login: almost });
    expect(all).toContain("refuses the login of puller-1 (401). Nothing was changed");
  });
});
