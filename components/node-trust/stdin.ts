import { readFileSync } from "node:fs";

/** What node.sh is told: the variables that it describes at its top. Lists are joined by line breaks. */
export interface NodeVariables {
  node: string;
  owner: string;
  header: string;
  body: string;
  mode: "registries-yaml" | "hosts-toml";
  file: string;
  ca: string;
  service: string;
  role: "server" | "agent";
  cri: string;
  api: string;
  host: string;
  probes: string;
  login: string;
  user: string;
  secrets: string;
  registries: string;
  fallback: string;
  proof_generation: number;
  adopt: "yes" | "";
  check_limit: number;
  restart_limit: number;
  proof_limit: number;
  lock_limit: number;
}

const script = readFileSync(new URL("node.sh", import.meta.url), "utf8");

/**
 * What `sh -s apply` and `sh -s remove` read: variables, script, and the call last of all, so that a connection cut on the
 * way here has done nothing. The call's standard input is empty: commands would read on in this text otherwise.
 */
export function renderStdin(variables: NodeVariables): string {
  const assignments = Object.entries(variables).map(([name, value]) => `${name}=${shellQuote(String(value))}`);
  return `${assignments.join("\n")}\n${script}main "$@" </dev/null\nexit\n`;
}

/** A word of POSIX shell that is this text. It cannot hold NUL, which no shell can. */
export function shellQuote(text: string): string {
  if (text.includes("\0")) throw new Error("text with a NUL character cannot be given to a shell");
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A line of curl's configuration file that logs in. Within quotes, curl takes `\` as the start of an escape. */
export function curlLogin({ name, password }: { name: string; password: string }): string {
  const escaped = `${name}:${password}`.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
  return `user = "${escaped}"`;
}

/** The command that a node runs; whoever is not root says by what they become it. */
export function remoteCommand(action: "apply" | "remove", become: "none" | "sudo" | "doas"): string {
  return `${become === "none" ? "" : `${become} -n `}sh -s ${action}`;
}
