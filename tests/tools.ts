import { prepareTools, type ToolName, type Tools } from "../lab/lab.ts";
import type { PodTools } from "./integration/pod.ts";

/** What the integration tests run: no cluster, no root. */
const TOOLS: ToolName[] = ["nginx", "registry", "busybox", "skopeo", "shellcheck", "openssl", "flock"];

/** Downloads and builds what is missing (minutes the first time, then nothing). */
export function testTools(): Promise<Tools> {
  return prepareTools((line) => console.error(line), TOOLS);
}

/** The programs of the registry's pod. */
export function podTools({ bin }: Tools): PodTools {
  return { nginx: bin("nginx"), registry: bin("registry"), busybox: bin("busybox"), flock: bin("flock") };
}
