import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { answers, deployStack, kubectl, registryPod, removeStack, type TestStack } from "./cluster.ts";
import { ociImage } from "./images.ts";
import { pulledDigest, Skopeo } from "./skopeo.ts";

const PORT = 30620;
const PASSWORD = "homecloud:registryPassword";
let stack: TestStack;
let kept: string;
/** Seconds that a deleted pod kept the registry away. */
let podAway: number;

beforeAll(async () => {
  stack = await deployStack(
    "survival",
    PORT,
    { storage: "1Gi", reserve: "64Mi" },
    { [PASSWORD]: "the first password" },
  );
  const image = await ociImage(8 * 2 ** 20);
  await new Skopeo(stack).push(`oci:${image.folder}:1.0`, "kept/app:1.0");
  kept = image.digest;
});
afterAll(() => stack && removeStack(stack));

async function expectKept(): Promise<void> {
  await answers(stack);
  const { folder, exitCode, stderr } = await new Skopeo(stack).pull("kept/app:1.0");
  expect(exitCode, stderr).toBe(0);
  expect(await pulledDigest(folder)).toBe(kept);
}

test("images survive a deleted pod", async () => {
  const { name, uid } = await registryPod(stack.namespace);
  const watch = watchAvailability();
  await kubectl("-n", stack.namespace, "delete", "pod", name);
  expect((await registryPod(stack.namespace)).uid).not.toBe(uid);
  await expectKept();
  await sleep(1000);
  podAway = await watch.stop();
});

test("a pod killed while a push runs: the push fails or is whole, and works on retry", async () => {
  const image = await ociImage(300 * 2 ** 20);
  const { name } = await registryPod(stack.namespace);
  const push = new Skopeo(stack).push(`oci:${image.folder}:1.0`, "cut/app:1.0");
  await sleep(1200);
  await kubectl("-n", stack.namespace, "delete", "pod", name, "--grace-period=0", "--force");
  const { exitCode } = await push;
  await registryPod(stack.namespace);
  await answers(stack);
  const pulled = await new Skopeo(stack).pull("cut/app:1.0");
  expect(pulled.exitCode === 0, "what was acknowledged is there, what failed is not there in half").toBe(
    exitCode === 0,
  );
  expect(exitCode, "the kill came in the middle of the push").not.toBe(0);

  const again = await new Skopeo(stack).push(`oci:${image.folder}:1.0`, "cut/app:1.0");
  expect(again.exitCode, again.stderr).toBe(0);
  const whole = await new Skopeo(stack).pull("cut/app:1.0");
  expect(await pulledDigest(whole.folder)).toBe(image.digest);
  await expectKept();
});

test("an unchanged program replaces nothing", async () => {
  const before = await registryPod(stack.namespace);
  stack = await deployStack(
    "survival",
    PORT,
    { storage: "1Gi", reserve: "64Mi" },
    { [PASSWORD]: "the first password" },
  );
  expect(await registryPod(stack.namespace)).toEqual(before);
});

test("a changed password: the old one stops working, the new one works, the gap is a pod's restart", async () => {
  const old = { name: "homelab", password: "the first password" };
  const watch = watchAvailability();
  stack = await deployStack(
    "survival",
    PORT,
    { storage: "1Gi", reserve: "64Mi" },
    { [PASSWORD]: "the second password" },
  );
  await registryPod(stack.namespace);
  await sleep(1000);
  const away = await watch.stop();
  console.log(`away for ${away.toFixed(1)} s with a password change, for ${podAway.toFixed(1)} s with a deleted pod`);
  expect(away).toBeLessThan(2 * podAway);
  expect((await new Skopeo(stack, old).pull("kept/app:1.0")).exitCode).not.toBe(0);
  await expectKept();
});

test("a raised generation gives a new pull-only user, and leaves the one before", async () => {
  const before = { name: stack.outputs.registryPullUser, password: stack.outputs.registryPullPassword };
  stack = await deployStack(
    "survival",
    PORT,
    { storage: "1Gi", reserve: "64Mi", pullUserGeneration: 2 },
    { [PASSWORD]: "the second password" },
  );
  expect(stack.outputs.registryPullUser).toBe("puller-2");
  for (const user of [before, "puller" as const]) {
    expect((await new Skopeo(stack, user).pull("kept/app:1.0")).exitCode).toBe(0);
  }
  stack = await deployStack(
    "survival",
    PORT,
    { storage: "1Gi", reserve: "64Mi", pullUserGeneration: 3 },
    { [PASSWORD]: "the second password" },
  );
  expect((await new Skopeo(stack, before).pull("kept/app:1.0")).exitCode, "two raises later it is out").not.toBe(0);
});

/** Asks for the health of the registry ten times a second. `stop` returns the longest time it did not answer, in seconds. */
function watchAvailability(): { stop(): Promise<number> } {
  const script = `while :; do
    if curl -s -o /dev/null -m 1 --cacert ${stack.caFile} ${stack.outputs.registryUrl}/v2/; then echo "$(date +%s.%N) up"; else echo "$(date +%s.%N) down"; fi
    sleep 0.1
  done`;
  const child = spawn("bash", ["-c", script], { stdio: ["ignore", "pipe", "ignore"] });
  let output = "";
  child.stdout.on("data", (data) => {
    output += data;
  });
  const longest = () => {
    let since: number | undefined;
    let most = 0;
    for (const line of output.trim().split("\n")) {
      const [time = "0", state] = line.split(" ");
      if (state === "down") since ??= Number(time);
      else if (since !== undefined) {
        most = Math.max(most, Number(time) - since);
        since = undefined;
      }
    }
    return most;
  };
  return {
    stop: async () => {
      child.kill();
      return longest();
    },
  };
}
