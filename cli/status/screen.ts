import { table } from "../table.ts";
import { bytes } from "../units.ts";
import type { Status, WorkloadStatus } from "./read.ts";

/** One screen for a person. */
export function renderStatus(status: Status, now: Date): string {
  const { context, stack, workloads, trustedNodes, lastCollection, writesHeld } = status;
  const rows = workloads.map((workload) => [
    workload.name,
    read(workload, "state", workload.state),
    read(workload, "storage", storage(workload)),
    read(workload, "certificateEnds", workload.certificateEnds ? ends(workload.certificateEnds, now) : "none"),
    read(workload, "images", workload.images.join(", ")),
  ]);
  const nodes = trustedNodes ? trustedNodes.join(", ") || "none yet" : "not managed here (nodeTrust)";
  return [
    `Homecloud${stack ? ` (stack ${stack})` : ""} in context ${context}`,
    "",
    table(["", "STATE", "STORAGE", "CERTIFICATE", "IMAGES"], rows),
    "",
    ...workloads.map((each) => `${each.name}: ${read(each, "addresses", each.addresses.join(", ") || "no address")}`),
    ...(writesHeld ? ["pushes wait: a collection, backup or restore holds them"] : []),
    `last garbage collection: ${read(status, "lastCollection", collected(lastCollection))}`,
    `nodes that trust the registry: ${read(status, "trustedNodes", nodes)}`,
  ].join("\n");
}

/** What is shown of a field. */
const read = ({ unreadable }: { unreadable: string[] }, field: string, text: string): string =>
  unreadable.includes(field) ? "may not be read" : text;

function storage({ storage }: WorkloadStatus): string {
  if (!storage) return "-";
  const percent = Math.round((storage.used / storage.limit) * 100);
  return `${bytes(storage.used)} of ${bytes(storage.limit)} (${percent} %)${storage.full ? " FULL" : ""}`;
}

function ends(when: Date, now: Date): string {
  const days = Math.floor((when.getTime() - now.getTime()) / 86_400_000);
  return days < 0 ? `EXPIRED ${date(when)}` : `${date(when)} (${days} days)`;
}

function collected(when: Date | null | undefined): string {
  if (when === undefined) return "not known, the registry does not answer";
  return when ? `${when.toISOString().slice(0, 16).replace("T", " ")} UTC` : "none yet";
}

const date = (when: Date) => when.toISOString().slice(0, 10);
