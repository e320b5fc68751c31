/**
 * The name of an image without another registry's host, as Docker understands names: what stands before the first slash is a
 * host where it has a dot or a colon, or is `localhost`. `docker.io/library/nginx:1` is `nginx:1`.
 */
export function withoutHost(name: string): string {
  const slash = name.indexOf("/");
  if (slash < 0) return name;
  const [first, rest] = [name.slice(0, slash), name.slice(slash + 1)];
  const isHost = /[.:]/.test(first) || first === "localhost";
  if (!isHost) return name;
  return /^(index\.)?docker\.io$/.test(first) ? rest.replace(/^library\//, "") : rest;
}

/** The tag of a name, or a name that is a tag alone, as OCI layouts have it. Undefined where it has neither. */
export function splitName(name: string): { repository: string | undefined; tag: string | undefined } {
  const [path = ""] = withoutHost(name).split("@");
  const colon = path.lastIndexOf(":");
  if (colon > path.lastIndexOf("/")) return { repository: path.slice(0, colon), tag: path.slice(colon + 1) };
  return { repository: path || undefined, tag: undefined };
}
