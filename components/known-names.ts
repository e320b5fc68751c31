// By what the command line knows things of the program's again. Apart from the components, because it loads no Pulumi.

/** Name of the ConfigMap in the registry's namespace that tells which nodes pull by themselves. */
export const TRUSTED_NODES = "trusted-nodes";

/** Its annotations: the user that these nodes were given, and SHA-256 of the CA's PEM that they trust. */
export const NODES_USER = "homecloud/pull-user";
export const NODES_CA = "homecloud/ca-sha256";

/** Name of the Secret or ConfigMap in a workload's namespace that tells the command line how to reach it. */
export const clientObject = (workload: string): string => `${workload}-client`;

/** Name of the Secret by which pods of another namespace pull. */
export const PULL_SECRET = "registry-pull";

/** Name of the ConfigMap that gives pods of another namespace the CA. */
export const CA_CONFIG_MAP = "homecloud-ca";

/** Common name of the first generation of the stack's own CA; later ones append their number. */
export const CA_NAME = "homecloud private CA";
