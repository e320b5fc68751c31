import prettyBytes from "pretty-bytes";

/** Bytes for a person, in the units of Kubernetes: 1.5 GiB. */
export const bytes = (count: number): string => prettyBytes(count, { binary: true });
