import * as pulumi from "@pulumi/pulumi";
import { type ClusterFacts, checkCluster } from "./cluster/check.ts";
import { ConfigError, loadSettings } from "./config/load.ts";
import type { Settings } from "./config/settings.ts";
import { deploy } from "./program.ts";

/** The stack's outputs: whatever `deploy` returns, so that no list here can forget one. The engine warns of undefined ones. */
export default Object.fromEntries(
  Object.entries(deploy(...(await checked()))).filter(([, value]) => value !== undefined),
);

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
