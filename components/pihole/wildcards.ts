import { isIP } from "node:net";
import { dnsmasqLines, wildcardBase } from "../dns-records.ts";
import { PiholeError, type PiholeSession } from "./client.ts";
import type { HostsRecord } from "./hosts.ts";

/**
 * Leaves exactly our lines for a wildcard, all in one write: each restarts Pi-hole's DNS, and dnsmasq would answer with
 * both of two addresses. Only lines of that one name are ours to replace: a line with more names, or with a comment, was
 * written by a person. Returns what became of it, for the log.
 */
export async function setWildcard(pihole: PiholeSession, record: HostsRecord): Promise<string> {
  const wanted = dnsmasqLines([record]);
  const before = await pihole.dnsmasqLines();
  const ours = linesOfWildcard(before, record.name);
  const outdated = ours.filter(({ address }) => address !== undefined && address !== record.address);
  const present = sameLines(ours, wanted);
  if (!present) await pihole.setDnsmasqLines([...without(before, ours), ...wanted]);

  const after = await pihole.dnsmasqLines();
  if (!sameLines(linesOfWildcard(after, record.name), wanted)) {
    throw new PiholeError(
      `Pi-hole took "${wanted.join('", "')}" but no longer lists just that for ${record.name}: does another program set misc.dnsmasq_lines too?`,
    );
  }
  const now = `${record.name} stands for ${record.address}`;
  const said =
    outdated.length > 0
      ? `${now}, no longer for ${outdated.map(({ address }) => address).join(", ")}.`
      : `${now} ${present ? "already" : "now"}.`;
  return [said, ...warnings(after, record.name)].join("\n");
}

/** Takes the wildcard out. Its name at another address is not what was set, and stays, with what belongs to it. */
export async function removeWildcard(pihole: PiholeSession, record: HostsRecord): Promise<string> {
  const before = await pihole.dnsmasqLines();
  const ours = linesOfWildcard(before, record.name);
  const others = ours.filter(({ address }) => address !== undefined && address !== record.address);
  const going = others.length > 0 ? ours.filter(({ address }) => address === record.address) : ours;
  if (going.length === 0) return `${record.name} was no longer in Pi-hole.`;
  await pihole.setDnsmasqLines(without(before, going));
  return `${record.name} is no longer in Pi-hole.`;
}

interface WildcardLine {
  line: string;
  /** Undefined for the line that keeps the name from being asked elsewhere. */
  address: string | undefined;
}

/** Lines in the form of ours: `address=/name/address` and `local=/name/`. */
function linesOfWildcard(lines: string[], wildcard: string): WildcardLine[] {
  const base = wildcardBase(wildcard)?.toLowerCase();
  return lines.flatMap((line): WildcardLine[] => {
    const [, option, name, value = ""] = /^\s*(address|local)\s*=\s*\/([^/#\s]+)\/(\S*)\s*$/.exec(line) ?? [];
    if (name?.toLowerCase() !== base) return [];
    if (option === "address") return isIP(value) ? [{ line, address: value }] : [];
    return value === "" ? [{ line, address: undefined }] : [];
  });
}

function sameLines(ours: WildcardLine[], wanted: string[]): boolean {
  return ours.length === wanted.length && wanted.every((line) => ours.some((other) => other.line === line));
}

function without(lines: string[], going: WildcardLine[]): string[] {
  return lines.filter((line) => !going.some((other) => other.line === line));
}

/** Lines that other people wrote and that say something else of the very same name. */
function warnings(lines: string[], wildcard: string): string[] {
  const base = wildcardBase(wildcard)?.toLowerCase() ?? "";
  const ours = linesOfWildcard(lines, wildcard);
  const conflicts = without(lines, ours).filter((line) => {
    const [, names = ""] = /^\s*(?:address|local|server)\s*=\s*\/([^#]*)\//.exec(line) ?? [];
    return names.toLowerCase().split("/").includes(base);
  });
  return conflicts.map((line) => `Warning: Pi-hole's dnsmasq line "${line}" names ${base} too; it was left alone.`);
}
