import * as pulumi from "@pulumi/pulumi";
import { type ClusterFacts, checkCluster } from "./cluster/check.ts";
import { ConfigError, loadSettings } from "./config/load.ts";
import type { Settings } from "./config/settings.ts";
import { deploy } from "./program.ts";

/** The stack's outputs, by the names of `Outputs`: a list of exports here could forget one. */
export default deploy(...(await checked()));

/** The stack's settings and what the cluster holds, once both have been checked: nothing is registered before. */
async function checked(): Promise<[Settings, ClusterFacts]> {
  try {
    const settings = loadSettings({
      project: pulumi.getProject(),
      stack: pulumi.getStack(),
      values: pulumi.runtime.allConfig(),
      secretKeys: JSON.parse(process.env.PULUMI_CONFIG_SECRET_KEYS ?? "[]"),
      sshAgent: Boolean(process.env.SSH_AUTH_SOCK),
    });
    return [settings, await checkCluster(pulumi.getStack(), settings)];
  } catch (error) {
    // A RunError is printed without a stack: the mistake is in the configuration, not here.
    throw error instanceof ConfigError ? new pulumi.RunError(error.message) : error;
  }
}
