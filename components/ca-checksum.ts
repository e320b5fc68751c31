import { createHash } from "node:crypto";

/** SHA-256 of a CA's PEM, by which the one that somebody was given is told from the one that there is now. */
export const checksumOfCa = (pem: string): string => createHash("sha256").update(pem.trim()).digest("hex");
