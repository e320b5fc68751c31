import { isIP } from "node:net";

/** A host as it stands before a port: an IPv6 address in brackets. */
export const inUrl = (host: string): string => (isIP(host) === 6 ? `[${host}]` : host);
