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

/**
 * Local DNS records in Pi-hole 6. One resource a record, so that a record that is no longer wanted is taken out; records
 * of other people are not touched.
 */
export class PiholeRecords extends pulumi.ComponentResource {
  constructor(name: string, args: PiholeRecordsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("homecloud:index:PiholeRecords", name, {}, opts);
    for (const record of args.records) {
      new command.local.Command(
        `${name}-${record.name}`,
        {
          create: "node components/pihole/record.ts set",
          update: "node components/pihole/record.ts set",
          delete: "node components/pihole/record.ts remove",
          environment: {
            PIHOLE_URL: args.url,
            PIHOLE_PASSWORD: pulumi.secret(args.password),
            RECORD_NAME: record.name,
            RECORD_ADDRESS: record.address,
          },
          triggers: [record.address],
        },
        { parent: this, additionalSecretOutputs: ["stdout", "stderr"] },
      );
    }
    this.registerOutputs({});
  }
}
