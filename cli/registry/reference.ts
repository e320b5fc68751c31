import { EXIT, UserError } from "../errors.ts";

/** An image of the registry, without its host. */
export interface Reference {
  repository: string;
  tag: string | undefined;
  digest: string | undefined;
}

// Source: https://github.com/distribution/reference/blob/main/regexp.go
const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

/**
 * Reads REPO[:TAG][@DIGEST]; the registry's own host in front may be given or left out. Throws a UserError for anything
 * else, another registry's host among it.
 */
export function parseReference(text: string, host: string): Reference {
  const path = text.startsWith(`${host}/`) ? text.slice(host.length + 1) : text;
  const [, rest = "", digest] = /^(.*?)(?:@(.+))?$/.exec(path) ?? [];
  const colon = rest.lastIndexOf(":");
  const hasTag = colon > rest.lastIndexOf("/");
  const repository = hasTag ? rest.slice(0, colon) : rest;
  const tag = hasTag ? rest.slice(colon + 1) : undefined;
  const whole = REPOSITORY.test(repository) && (tag === undefined || TAG.test(tag));
  if (!whole || (digest !== undefined && !DIGEST.test(digest))) {
    throw new UserError(`${text} is no image of ${host}: allowed is REPO, REPO:TAG or REPO@sha256:…`, EXIT.usage);
  }
  return { repository, tag, digest };
}

/** Reads REPO, as `parseReference` does. Throws a UserError where a tag or digest stands with it. */
export function parseRepository(text: string, host: string): string {
  const { repository, tag, digest } = parseReference(text, host);
  if (tag || digest) {
    throw new UserError(`${text} is one image, and a repository is asked for here: ${repository}`, EXIT.usage);
  }
  return repository;
}
