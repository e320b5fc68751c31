/** What the lab builds from source, pinned. Debian's packages are whatever the machine's release has. */
export const KUBERNETES = "v1.34.2";
export const COREDNS = "v1.14.7";
export const LOCAL_PATH_PROVISIONER = "v0.0.30";
export const REGISTRY = "v3.1.2";

/** Oldest Go that builds them: the `go` line in their go.mod files. */
export const GO_MINIMUM = "1.26";
