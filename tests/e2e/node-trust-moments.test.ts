import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TestNode } from "../nodes/fleet.ts";
import { another, Homelab, type Program } from "../nodes/homelab.ts";
import { nodeTools } from "../tools.ts";

/**
 * The script killed before each single command that changes something: what a power cut, or the kernel out of memory, may do.
 * Between two of them the node is as it was. Steps are cut in node-trust-cuts.test.ts; here it is every rename.
 */
let homelab: Homelab;
let node: TestNode;

const FOLDER = "/etc/rancher/k3s";
const FILE = `${FOLDER}/registries.yaml`;
const SHIMS = "/opt/shims";
/** Of systemctl's commands only `restart` changes anything. */
const CHANGING = ["cp", "ln", "mkdir", "mv", "rm", "rmdir", "sync", "systemctl"];

beforeAll(async () => {
  homelab = await Homelab.start(await nodeTools(), [
    { name: "server", role: "server" },
    { name: "agent", role: "agent", shell: "dash" },
  ]);
  for (const each of homelab.fleet.nodes) await installShims(each);
});
afterAll(async () => {
  await homelab?.stop();
});

/**
 * Every command counts itself, and kills who called it when its number has come. Its own answer is the real one's. `redirect`
 * stands before each redirection that writes a file.
 */
async function installShims(on: TestNode): Promise<void> {
  const real = (name: string) => `PATH=\${PATH#${SHIMS}:} exec ${name} "$@"`;
  const shim = (name: string) => `#!/bin/bash
${name === "systemctl" ? `[ "$1" = restart ] || ${real(name)}` : ""}
read -r count 2>/dev/null <${SHIMS}/count; echo $((count + 1)) >${SHIMS}/count
read -r moment <${SHIMS}/moment
if [ "$((count + 1))" = "$moment" ]; then kill -9 "$(cat ${SHIMS}/script)"; exit 1; fi
${name === "redirect" ? "" : real(name)}
`;
  for (const name of [...CHANGING, "redirect"]) await on.writeFile(`${SHIMS}/${name}`, shim(name));
  await on.exec(`chmod 755 ${SHIMS}/*`);
}

/** A redirection into a file of the node's, with its command: `: >"$state/pending"`. */
const WRITES = /(?:: |printf '%s\\n' "\$2" )>"\$[^"]+"/g;

/** The script with `redirect` before each of its writes. Throws where it has one that this does not know. */
function withCountedWrites(script: string): string {
  const all = script.match(/[^&<>\d]>+"?\$(?!\()/g) ?? [];
  const counted = script.replace(WRITES, (write) => `{ redirect && ${write}; }`);
  expect(script.match(WRITES), "every write is counted").toHaveLength(all.length);
  return counted;
}

/** The command as the component has it, run beside SSH, so that the shims come first on PATH. 0: nothing is killed. */
async function runUntil(
  moment: number,
  action: "apply" | "remove",
  program: Program,
): Promise<{ ended: boolean; all: string }> {
  await node.exec(`echo 0 >${SHIMS}/count; echo ${moment} >${SHIMS}/moment`);
  const script = `echo $$ >${SHIMS}/script; PATH=${SHIMS}:$PATH exec sh -s ${action}`;
  const input = withCountedWrites(await homelab.stdin(node.name, program));
  const { exitCode, all } = await node.exec(script, { input });
  return { ended: exitCode === 0 || exitCode === 1, all };
}

async function settled(): Promise<void> {
  await node.exec("touch /run/homecloud-node-trust.lock; timeout 30 flock /run/homecloud-node-trust.lock true");
  await node.untilHealthy();
}

async function files(): Promise<string[]> {
  const { stdout } = await node.exec(`find ${FOLDER} -type f ! -name k3s.yaml | sort`);
  return stdout.trim().split("\n").filter(Boolean);
}

async function expectPulls(when: string): Promise<void> {
  const { ok, output } = await node.pull(homelab.image);
  expect(ok, `${when}: ${output}`).toBe(true);
}

const succeed = async (action: "create" | "delete", program: Program, when: string) => {
  const { exitCode, all } = await homelab.run(node.name, action, program);
  expect(exitCode, `${when}: ${all}`).toBe(0);
};

const WHOLE = [`${FOLDER}/homecloud/ca.crt`, `${FOLDER}/homecloud/proven`, FILE];
const setOf = (name: string) => ({ settings: { adopt: true, ...another(name) } });

describe("killed before each command that changes something", () => {
  test("of a change", async () => {
    node = homelab.node("server");
    await succeed("create", {}, "first");
    let moment = 1;
    for (; moment < 200; moment++) {
      const { ended, all } = await runUntil(moment, "apply", setOf(`m${moment}`));
      if (ended) {
        expect(all).toContain("restarted");
        break;
      }
      await settled();
      await expectPulls(`killed at ${moment}`);
      await succeed("create", setOf(`m${moment}`), `again after ${moment}`);
      expect(await files(), `after ${moment}`).toEqual(WHOLE);
      expect(await node.readFile(FILE)).toContain(`m${moment}.test`);
    }
    console.log(`${moment - 1} moments of a change`);
    expect(moment).toBeGreaterThan(15);
  }, 900_000);

  test("of a change that fails, with the way back", async () => {
    node = homelab.node("server");
    await succeed("create", {}, "before");
    const former = await node.readFile(FILE);
    let moment = 1;
    for (; moment < 200; moment++) {
      await node.fault("start-fails", true);
      const program = { settings: { ...another(`f${moment}`), timeLimits: { restart: 5, proof: 1, check: 4 } } };
      const { ended } = await runUntil(moment, "apply", program);
      const isPending = await node.exists(`${FOLDER}/homecloud/pending`);
      if (!ended && isPending) {
        // Once more into the same failure, and again after that: nothing may be lost on the way.
        await homelab.run("server", "create", program);
        await homelab.run("server", "create", program);
      }
      await node.fault("start-fails", false);
      await node.exec("systemctl is-active --quiet k3s || systemctl restart k3s");
      await settled();
      await expectPulls(`failed at ${moment}`);
      await succeed("create", {}, `again after ${moment}`);
      expect(await node.readFile(FILE), `after ${moment}`).toBe(former);
      expect(await files(), `after ${moment}`).toEqual(WHOLE);
      if (ended) break;
    }
    console.log(`${moment - 1} moments of a failure`);
    expect(moment).toBeGreaterThan(15);
  }, 900_000);

  test("of the removal from a node that was adopted: what was there comes back", async () => {
    node = homelab.node("agent");
    const original = "# somebody's own\nmirrors: {}\n";
    let moment = 1;
    for (; moment < 200; moment++) {
      await node.exec(`rm -rf ${FOLDER}/*`);
      await node.writeFile(FILE, original);
      await node.exec("systemctl restart k3s-agent");
      await node.untilHealthy();
      await succeed("create", setOf("adopted"), `adopting for ${moment}`);
      const { ended } = await runUntil(moment, "remove", setOf("adopted"));
      if (!ended) {
        await node.exec("systemctl is-active --quiet k3s-agent || systemctl restart k3s-agent");
        await settled();
        await succeed("delete", setOf("adopted"), `again after ${moment}`);
      }
      expect(await files(), `after ${moment}`).toEqual([FILE]);
      expect(await node.readFile(FILE), `after ${moment}`).toBe(original);
      expect(await node.isHealthy()).toBe(true);
      if (ended) break;
    }
    console.log(`${moment - 1} moments of a removal`);
    expect(moment).toBeGreaterThan(4);
  }, 900_000);
});
