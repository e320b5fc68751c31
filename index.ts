import * as pulumi from "@pulumi/pulumi";
import { loadSettings } from "./config/load.ts";
import { deploy } from "./program.ts";

const settings = loadSettings({
  project: pulumi.getProject(),
  stack: pulumi.getStack(),
  values: pulumi.runtime.allConfig(),
  secretKeys: JSON.parse(process.env.PULUMI_CONFIG_SECRET_KEYS ?? "[]"),
});

export const {
  registryUrl,
  registryHost,
  registryNamespace,
  registryUser,
  registryPassword,
  registryPullUser,
  registryPullPassword,
  registryDockerConfigJson,
  caCertificate,
  caEnvironment,
  dnsRecords,
} = deploy(settings);
