import { z } from "zod";

const HOST = /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Text of this form. `allowed` says so in words, whatever is wrong with the value: it ends an error message. */
export const text = (form: RegExp, allowed: string) => z.string(allowed).regex(form, allowed);
export const nonEmpty = (allowed: string) => z.string(allowed).min(1, allowed);

/** Text that can be wrong in more than one way: `problem` says what would be allowed instead. */
export const form = (problem: (value: string) => string | undefined) =>
  z.string(problem("") ?? "text").superRefine((value, context) => {
    const allowed = problem(value);
    if (allowed) context.addIssue(allowed);
  });

export const hostName = text(HOST, "a host name in lower case, for example homelab.local");
/**
 * The mode that a group of settings has where none is named: `pulumi config set --path tls.generation 2` writes no mode.
 * Optional on its inside, because that is where zod looks for the union's option.
 */
export const modeByDefault = <const Mode extends string>(mode: Mode) => z.literal(mode).optional().default(mode);

export const kubernetesName = text(LABEL, "a Kubernetes name: lower-case letters, digits and '-', 63 at most");
export const ipAddress = z.union([z.ipv4(), z.ipv6()], "an IP address such as 192.168.1.240");
export const host = z.union([z.ipv4(), z.ipv6(), hostName], "an IP address or a host name in lower case");

const PORT = "a port from 1024 to 65535 (30000 to 32767 unless the cluster was told otherwise)";

/** A port on every node. */
export const nodePort = z.int(PORT).min(1024, PORT).max(65535, PORT);

/** A whole number of at least one, at most `max`. */
export const count = (allowed: string, max = Number.MAX_SAFE_INTEGER) =>
  z.int(allowed).min(1, allowed).max(max, allowed);
