import { prepareTools, type ToolName, type Tools } from "../lab/lab.ts";
import {
  ALL_TOOLS,
  CLIENT_TOOLS,
  INGRESS_TOOLS,
  MONITORING_TOOLS,
  NODE_TOOLS,
  SHELL_TOOLS,
  unpackedProgram,
} from "../lab/tools.ts";
import type { PodTools } from "./integration/pod.ts";

/** What the integration tests run: no cluster, no root. */
const TOOLS: ToolName[] = ["nginx", "registry", "busybox", "skopeo", "shellcheck", "openssl", "flock"];

/** Downloads and builds what is missing (minutes the first time, then nothing). */
export function testTools(): Promise<Tools> {
  return prepareTools((line) => console.error(line), TOOLS);
}

/** Everything, so that no file waits for what another one builds. */
export function allTools(): Promise<Tools> {
  return prepareTools((line) => console.error(line), ALL_TOOLS);
}

/** What test nodes run beside, which need root (tests/nodes/fleet.ts). */
export function nodeTools(): Promise<Tools> {
  return prepareTools((line) => console.error(line), [...TOOLS, ...NODE_TOOLS, "containerd"]);
}

/** What tests of LocalStack's clients run, which need root (tests/e2e/laptop.ts). */
export function clientTools(): Promise<Tools> {
  return prepareTools((line) => console.error(line), CLIENT_TOOLS);
}

/** Prometheus, and what checks its rules. */
export function monitoringTools(): Promise<Tools> {
  return prepareTools((line) => console.error(line), MONITORING_TOOLS);
}

/** A real ingress controller. */
export function ingressTools(): Promise<Tools> {
  return prepareTools((line) => console.error(line), INGRESS_TOOLS);
}

/** Shells that this machine need not have. */
export function shellTools(): Promise<Tools> {
  return prepareTools((line) => console.error(line), SHELL_TOOLS);
}

/** The programs of the registry's pod. busybox as unpacked: a wrapper would not see by which name it was called. */
export async function podTools({ bin }: Tools): Promise<PodTools> {
  const busybox = await unpackedProgram("busybox");
  return { nginx: bin("nginx"), registry: bin("registry"), busybox, flock: bin("flock") };
}
