import * as pulumi from "@pulumi/pulumi";
import type { ClusterFacts } from "../cluster/check.ts";
import type { Settings } from "../config/settings.ts";
import { deploy } from "../program.ts";
import type { GeneratedValues } from "./generated-values.ts";
import { MockEngine, plain } from "./mock-engine.ts";

/** A Kubernetes object as it would be applied. */
export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; [field: string]: unknown };
  [field: string]: unknown;
}

/** What a node would be told over SSH: `ssh -p PORT TARGET COMMAND < STDIN`. */
export interface NodeRun {
  name: string;
  target: string;
  port: number;
  command: string;
  stdin: string;
}

/** What a stack would deploy, and what it would tell. */
export interface Rendered {
  /** Kubernetes objects, in the order in which they can be applied. */
  manifests: Manifest[];
  /** The nodes' runs, in the order in which they would be made. Applied after everything else. */
  nodes: NodeRun[];
  /** Stack outputs, secrets in the clear. */
  outputs: Record<string, unknown>;
}

export interface RenderOptions {
  project: string;
  stack: string;
  /** Whether the manifests hold secrets in the clear. */
  secrets: boolean;
  /** What the cluster holds already. Defaults to nothing. */
  found?: ClusterFacts;
}

/** Stands where a secret was left out. */
export const LEFT_OUT = "<secret: left out>";

/** Runs the program without an engine. Secrets are left out of the manifests unless asked for. */
export async function render(
  settings: Settings,
  generated: GeneratedValues,
  options: RenderOptions,
): Promise<Rendered> {
  const engine = new MockEngine(generated);
  await pulumi.runtime.setMocks(engine, options.project, options.stack);
  const outputs = await settled({ ...deploy(settings, options.found) });
  await pulumi.runtime.disconnect(); // every resource is registered once this returns
  const manifests = engine.registered
    .filter(({ type }) => type.startsWith("kubernetes:") && !type.startsWith("kubernetes:yaml"))
    .map(({ inputs }) => plain(inputs, options.secrets ? undefined : LEFT_OUT) as Manifest)
    .map(withoutEngineAnnotations);
  const nodes = engine.registered
    .filter(({ type }) => type === "command:remote:Command")
    .map(({ name, inputs }) => nodeRun(name, plain(inputs, options.secrets ? undefined : LEFT_OUT) as NodeInputs));
  return { manifests: manifests.sort(byDependency), nodes, outputs };
}

interface NodeInputs {
  connection: { user: string; host: string; port: number };
  create: string;
  stdin: string;
}

function nodeRun(name: string, { connection, create, stdin }: NodeInputs): NodeRun {
  const { user, host, port } = connection;
  return { name: name.replace(/^node-trust-/, ""), target: `${user}@${host}`, port, command: create, stdin };
}

function settled(outputs: Record<string, unknown>): Promise<Record<string, unknown>> {
  return new Promise((resolve) => {
    pulumi.output(outputs).apply((values) => resolve(values as Record<string, unknown>));
  });
}

/** `pulumi.com/…` annotations speak to Pulumi's provider, which strips them from what it applies. */
function withoutEngineAnnotations(manifest: Manifest): Manifest {
  const annotations = Object.entries((manifest.metadata.annotations as Record<string, string> | undefined) ?? {});
  const kept = Object.fromEntries(annotations.filter(([key]) => !key.startsWith("pulumi.com/")));
  const { annotations: _, ...metadata } = manifest.metadata;
  return { ...manifest, metadata: Object.keys(kept).length > 0 ? { ...metadata, annotations: kept } : metadata };
}

/** Kinds that others need come first; within a kind, by namespace and name: the order is the same on every run. */
const ORDER = [
  "Namespace",
  "PersistentVolumeClaim",
  "NetworkPolicy",
  "ConfigMap",
  "Secret",
  "Deployment",
  "Service",
  "Ingress",
];

function byDependency(a: Manifest, b: Manifest): number {
  const rank = ({ kind }: Manifest) => (ORDER.includes(kind) ? ORDER.indexOf(kind) : ORDER.length);
  const key = ({ kind, metadata }: Manifest) => [kind, metadata.namespace ?? "", metadata.name].join("/");
  return rank(a) - rank(b) || key(a).localeCompare(key(b), "en");
}
