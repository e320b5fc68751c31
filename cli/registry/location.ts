import { UserError } from "../errors.ts";

/**
 * What the registry says to ask next, as a path: the registry may be reached by another address than it knows, and the login
 * goes nowhere else. Throws where it says nothing that is one.
 */
export function locationOf(said: string | string[] | undefined): string {
  const url = typeof said === "string" ? URL.parse(said, "http://registry") : null;
  // What begins with two slashes is another host, to whoever resolves it next.
  if (!url || url.pathname.startsWith("//")) {
    throw new UserError(`the registry says to go on at ${said ?? "no place"}, which is no place of its own`);
  }
  return url.pathname + url.search;
}
