import { type RegistryClient, RegistryError } from "./client.ts";

/** A tag that is there, and cannot be read. */
export interface Unreadable {
  problem: string;
}

/**
 * Tags of a repository of the catalog: none while its first push sends images of an index, or after that broke off. Throws
 * where the catalog has no such repository.
 */
export async function tagsOf(registry: RegistryClient, repository: string): Promise<string[]> {
  try {
    return await registry.tags(repository);
  } catch (error) {
    // What the registry answers then is the same as for a repository that never was.
    if (!(error instanceof RegistryError) || error.status !== 404) throw error;
    if ((await registry.repositories()).includes(repository)) return [];
    throw error;
  }
}

/** What is read of a tag; else why it cannot be, so that one of them does not spoil a list. Throws what concerns them all. */
export async function orProblem<T>(asked: Promise<T>): Promise<T | Unreadable> {
  try {
    return await asked;
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    if (error.status === 404) return { problem: "a part of it is missing, or it was deleted just now: push it again" };
    // A file on the registry's disk that is not what it was.
    if (error.status === 500) return { problem: error.message };
    throw error;
  }
}
