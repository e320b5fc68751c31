import { createHash } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";

/** An object that a pod reads at its start, and what is in it. */
export interface Content<Resource extends pulumi.Resource = pulumi.Resource> {
  resource: Resource;
  content: Record<string, pulumi.Input<string>>;
}

/**
 * A digest of everything that a pod reads. Of what was asked for, not of the objects' outputs, which a preview does not
 * know. It gives nothing away, so it need not be secret.
 */
export function checksum(read: Content[]): pulumi.Output<string> {
  const contents = pulumi.all(read.map(({ content }) => pulumi.output(content)));
  return pulumi.unsecret(contents.apply((all) => createHash("sha256").update(JSON.stringify(all)).digest("hex")));
}
