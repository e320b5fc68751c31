import { isIP } from "node:net";

/** One name of the home network and the address it stands for. A name that begins with `*.` stands for all below it. */
export interface DnsRecord {
  name: string;
  type: "A" | "AAAA";
  address: string;
}

/** The records that Pi-hole, or whatever answers names at home, needs. */
export function dnsRecords(hosts: string[], address: string): DnsRecord[] {
  return hosts.map((name) => ({ name, type: isIP(address) === 6 ? "AAAA" : "A", address }));
}

/** The name below which a wildcard stands for everything; undefined where the name is none. */
export function wildcardBase(name: string): string | undefined {
  return name.startsWith("*.") ? name.slice("*.".length) : undefined;
}

/**
 * The wildcards of these records as lines for dnsmasq, whose records have none. `address` covers the name and all below
 * it, but only its own kind of address: since 2.86 dnsmasq asks the servers above for the other kind, so that each lookup
 * waits for the internet, unless `local` keeps the name here.
 * Source: https://thekelleys.org.uk/dnsmasq/docs/dnsmasq-man.html (--address)
 */
export function dnsmasqLines(records: Pick<DnsRecord, "name" | "address">[]): string[] {
  return records.flatMap(({ name, address }) => {
    const base = wildcardBase(name);
    return base === undefined ? [] : [`address=/${base}/${address}`, `local=/${base}/`];
  });
}
