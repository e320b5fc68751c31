import { PiholeError, type PiholeSession } from "./client.ts";

/** One name and the address it stands for. */
export interface HostsRecord {
  name: string;
  address: string;
}

/**
 * Leaves exactly one record for the name. Only lines of that one name are ours to replace: a line with more names, or
 * with a comment, was written by a person. Returns what became of it, for the log.
 */
export async function setRecord(pihole: PiholeSession, record: HostsRecord): Promise<string> {
  const line = lineOf(record);
  const before = await pihole.hosts();
  const outdated = linesOfName(before, record.name).filter((other) => other !== line);
  // The new line first: the name never stands without an address.
  if (!before.includes(line)) await pihole.addHost(line);
  for (const other of outdated) await pihole.removeHost(other);

  const after = await pihole.hosts();
  const found = linesOfName(after, record.name);
  if (found.length !== 1 || found[0] !== line) {
    const instead = found.length > 0 ? `"${found.join('", "')}"` : "no record";
    throw new PiholeError(
      `Pi-hole took "${line}" but now lists ${instead} for that name: does another program set it too?`,
    );
  }
  return [describe(record, before, outdated), ...warnings(after, record)].join("\n");
}

/** Takes the record out. A line for the same name at another address is not the one that was set, and stays. */
export async function removeRecord(pihole: PiholeSession, record: HostsRecord): Promise<string> {
  const lines = linesOfName(await pihole.hosts(), record.name).filter((line) => fields(line)[0] === record.address);
  for (const line of lines) await pihole.removeHost(line);
  return lines.length > 0 ? `${record.name} is no longer in Pi-hole.` : `${record.name} was no longer in Pi-hole.`;
}

/** The line of Pi-hole's `dns.hosts`, in the form of a hosts file. */
export function lineOf({ name, address }: HostsRecord): string {
  return `${address} ${name}`;
}

function fields(line: string): string[] {
  return line.trim().split(/\s+/);
}

function linesOfName(lines: string[], name: string): string[] {
  return lines.filter((line) => {
    const [, first, ...more] = fields(line);
    return more.length === 0 && first?.toLowerCase() === name.toLowerCase();
  });
}

function describe(record: HostsRecord, before: string[], outdated: string[]): string {
  const now = `${record.name} stands for ${record.address}`;
  if (outdated.length > 0) return `${now}, no longer for ${outdated.map((line) => fields(line)[0]).join(", ")}.`;
  return before.includes(lineOf(record)) ? `${now} already.` : `${now} now.`;
}

/** Lines that other people wrote and that give the name a second address. */
function warnings(lines: string[], { name, address }: HostsRecord): string[] {
  const conflicts = lines.filter((line) => {
    const [otherAddress, ...names] = fields(line.split("#", 1)[0] ?? "");
    return otherAddress !== address && names.some((other) => other.toLowerCase() === name.toLowerCase());
  });
  return conflicts.map((line) => `Warning: Pi-hole's line "${line}" gives ${name} another address; it was left alone.`);
}
