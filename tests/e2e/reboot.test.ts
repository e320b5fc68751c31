import { afterAll, beforeAll, expect, test } from "vitest";
import { startLab, stopLab } from "../../lab/lab.ts";
import { isOnPath } from "../optional.ts";
import { deployStack, registryPod, removeStack, type TestStack, until } from "./cluster.ts";
import { ociImage } from "./images.ts";
import { deployLocalStack, removeLocalStack, type TestLocalStack } from "./localstack.ts";
import { pulledDigest, Skopeo } from "./skopeo.ts";

/** Where its image is not at hand only the registry's part is shown. */
const keepsData = isOnPath("localstack-persist.tar");

let registry: TestStack;
let localstack: TestLocalStack | undefined;

const deployAws = () => deployLocalStack("reboot", 30642, { edition: "community", storage: "1Gi" });

beforeAll(async () => {
  registry = await deployStack("reboot-images", 30625);
  if (!keepsData) return;
  localstack = await deployAws();
});
afterAll(async () => {
  if (registry) await removeStack(registry);
  await removeLocalStack(localstack);
});

test("images and data survive a stop and a start of the cluster", { timeout: 600_000 }, async () => {
  const image = await ociImage(8 * 2 ** 20);
  expect((await new Skopeo(registry).push(`oci:${image.folder}:1.0`, "kept/app:1.0")).exitCode).toBe(0);
  await localstack?.laptop.program("furnish", ["kept"]);
  await localstack?.laptop.program("journal", ["kept", "3"]);
  const journal = () => localstack?.laptop.program("read-journal", ["kept"]);
  const before = await journal();

  await stopLab({ quiet: true });
  await startLab({ quiet: true });

  await registryPod(registry.namespace);
  const pull = () => new Skopeo(registry).pull("kept/app:1.0");
  await until(async () => (await pull()).exitCode === 0, 60, "a pull works");
  expect(await pulledDigest((await pull()).folder)).toBe(image.digest);
  if (!localstack) return;
  await deployAws();
  expect(sorted(await journal())).toEqual(sorted(before));
  expect(await localstack.laptop.program("publish", ["kept"])).toBe("kept: hello");
});

function sorted(journal = "{}"): Record<string, number[]> {
  const parts = Object.entries(JSON.parse(journal) as Record<string, number[]>);
  return Object.fromEntries(parts.map(([part, numbers]) => [part, numbers.toSorted((one, other) => one - other)]));
}
