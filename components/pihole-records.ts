import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { DnsRecord } from "./dns-records.ts";

export interface PiholeRecordsArgs {
  /** Pi-hole 6's address, for example `http://192.168.1.2`. */
  url: string;
  /** Pi-hole's (app) password. Secret. */
  password: pulumi.Input<string>;
  records: DnsRecord[];
}

const SCRIPT = "node components/pihole/record.ts";

/**
 * Local DNS records in Pi-hole 6; a wildcard is a setting of its dnsmasq, and restarts it. One resource a record, named after it, so that a record that is no longer wanted is
 * taken out; records of other people are not touched.
 */
export class PiholeRecords extends pulumi.ComponentResource {
  constructor(name: string, args: PiholeRecordsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("homecloud:index:PiholeRecords", name, {}, opts);
    let previous: command.local.Command[] = [];
    for (const record of args.records) {
      const set = new command.local.Command(
        // Pulumi's --target takes a star for a pattern.
        `${name}-${record.name.replace("*", "wildcard")}`,
        {
          create: `${SCRIPT} set`,
          update: `${SCRIPT} set`,
          delete: `${SCRIPT} remove`,
          // No `triggers`: they replace, which sets the new record and then removes it again. A changed environment updates
          // in place, and `set` replaces the old address.
          environment: {
            PIHOLE_URL: args.url,
            PIHOLE_PASSWORD: pulumi.secret(args.password),
            RECORD_NAME: record.name,
            RECORD_ADDRESS: record.address,
          },
        },
        {
          parent: this,
          // `pulumi up --replace` too must remove before it sets.
          deleteBeforeReplace: true,
          // One after the other: Pi-hole copies its configuration, changes the copy and puts it back, so that of two writes
          // at once one can be lost (`api_config_put_delete`, pi-hole/FTL src/api/config.c). A wildcard's command ends when
          // Pi-hole is back from its restart.
          dependsOn: previous,
          additionalSecretOutputs: ["stdout", "stderr"],
        },
      );
      previous = [set];
    }
    this.registerOutputs({});
  }
}
