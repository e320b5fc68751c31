import { isIP } from "node:net";

/** One name of the home network and the address it stands for. */
export interface DnsRecord {
  name: string;
  type: "A" | "AAAA";
  address: string;
}

/** The records that Pi-hole, or whatever answers names at home, needs. */
export function dnsRecords(hosts: string[], address: string): DnsRecord[] {
  return hosts.map((name) => ({ name, type: isIP(address) === 6 ? "AAAA" : "A", address }));
}
