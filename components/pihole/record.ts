// One local DNS record in Pi-hole 6, set or removed. components/pihole-records.ts runs it through @pulumi/command.
import { dnsmasqLines, wildcardBase } from "../dns-records.ts";
import { PiholeError, withPihole } from "./client.ts";
import { type HostsRecord, lineOf, removeRecord, setRecord } from "./hosts.ts";
import { removeWildcard, setWildcard } from "./wildcards.ts";

/** `remove` then reports what it could not do and succeeds: the way out when Pi-hole is gone for good. */
const LEAVE = "HOMECLOUD_LEAVE_DNS";

async function main(action: string | undefined): Promise<void> {
  if (action !== "set" && action !== "remove") {
    throw new PiholeError("Usage: node components/pihole/record.ts set|remove");
  }
  const login = { url: variable("PIHOLE_URL"), password: variable("PIHOLE_PASSWORD"), signal: interruption() };
  const record = { name: variable("RECORD_NAME"), address: variable("RECORD_ADDRESS") };
  const { set, remove, lines } = waysOf(record);
  try {
    console.log(await withPihole(login, (pihole) => (action === "set" ? set : remove)(pihole, record)));
  } catch (error) {
    if (action === "set") throw error;
    const remains = `${messageOf(error)} The record "${lines.join('", "')}" stays in Pi-hole.`;
    if (!process.env[LEAVE]) {
      throw new PiholeError(
        `${remains} Run the same command again when Pi-hole answers, or give the record up: ${LEAVE}=1 pulumi destroy (or up), and take the line out by hand.`,
      );
    }
    console.log(`${remains} Take it out by hand.`);
  }
}

/** Pi-hole's records have no wildcards: those are settings of the dnsmasq inside. */
function waysOf(record: HostsRecord) {
  return wildcardBase(record.name) === undefined
    ? { set: setRecord, remove: removeRecord, lines: [lineOf(record)] }
    : { set: setWildcard, remove: removeWildcard, lines: dnsmasqLines([record]) };
}

function variable(name: string): string {
  const value = process.env[name];
  if (!value) throw new PiholeError(`The environment variable ${name} is missing.`);
  return value;
}

/** Ends the request under way on Ctrl-C, so that the session is still given back. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => controller.abort());
  return controller.signal;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

try {
  await main(process.argv[2]);
} catch (error) {
  console.error(messageOf(error));
  process.exitCode = 1;
}
