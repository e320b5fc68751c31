/** A registry as containerd is told of it in `certs.d/HOST/hosts.toml`. */
export interface HostsToml {
  /** Host, and port where there is one, as image references carry it: `registry.homelab.local`, `localhost:5001`. */
  host: string;
  /** URL that answers for it, for example `https://127.0.0.1:30443`. */
  server: string;
  /** Path, on the node, of the CA certificate that vouches for the server. Defaults to the node's own CAs. */
  caFile?: string | undefined;
  /** First line: a comment. Defaults to the host's name and who wrote the file. */
  header?: string;
}

/**
 * The hosts.toml that sends pulls of `host` to `server` and nowhere else. The CA stands twice: after a 404 of the table's host,
 * containerd asks the server itself, with what stands at the top. The certificate is always verified: there is
 * no way to ask for `skip_verify`. https://github.com/containerd/containerd/blob/main/docs/hosts.md
 */
export function renderHostsToml({ host, server, caFile, header }: HostsToml): string {
  const lines = [
    oneLine(header ?? `# ${host}, written by homecloud`),
    `server = ${tomlString(server)}`,
    ...(caFile === undefined ? [] : [`ca = ${tomlString(caFile)}`]),
    "",
    `[host.${tomlString(server)}]`,
    '  capabilities = ["pull", "resolve"]',
    ...(caFile === undefined ? [] : [`  ca = ${tomlString(caFile)}`]),
  ];
  return `${lines.join("\n")}\n`;
}

/** A TOML basic string; JSON's escapes are among TOML's. */
const tomlString = (text: string): string => JSON.stringify(text);

const oneLine = (text: string): string => text.replaceAll(/\s/g, " ");
