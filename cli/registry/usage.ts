/** A tag, and every blob that it needs, manifests among them: digest to bytes. */
export interface TagBlobs {
  repository: string;
  tag: string;
  blobs: Map<string, number>;
  /** Why it cannot be read: nothing of it is counted then. */
  problem?: string;
}

export interface Usage {
  /** Bytes of all blobs that some tag needs, each counted once. */
  total: number;
  repositories: RepositoryUsage[];
}

export interface RepositoryUsage {
  repository: string;
  /** Bytes of its tags' blobs, each counted once. */
  size: number;
  /** What deleting the repository's tags, and a collection, would free: blobs that no other repository has. */
  frees: number;
  tags: { tag: string; size: number; frees: number; problem?: string }[];
}

/** Who needs how much. A blob is stored once, however many tags and repositories need it. */
export function usageOf(tags: TagBlobs[]): Usage {
  const users = countUsers(tags.map(({ blobs }) => blobs));
  const repositories = Map.groupBy(tags, ({ repository }) => repository);
  const unions = new Map([...repositories].map(([name, own]) => [name, union(own.map(({ blobs }) => blobs))]));
  const repositoryUsers = countUsers([...unions.values()]);
  return {
    total: sum(union(tags.map(({ blobs }) => blobs))),
    repositories: [...repositories].map(([repository, own]) => {
      const blobs = unions.get(repository) ?? new Map();
      return {
        repository,
        size: sum(blobs),
        frees: sum(only(blobs, repositoryUsers)),
        tags: own.map(({ tag, blobs, problem }) => ({
          ...{ tag, size: sum(blobs), frees: sum(only(blobs, users)) },
          ...(problem ? { problem } : {}),
        })),
      };
    }),
  };
}

type Blobs = Map<string, number>;

const union = (all: Blobs[]): Blobs => new Map(all.flatMap((blobs) => [...blobs]));
const sum = (blobs: Blobs): number => [...blobs.values()].reduce((total, size) => total + size, 0);
const only = (blobs: Blobs, users: Map<string, number>): Blobs =>
  new Map([...blobs].filter(([digest]) => users.get(digest) === 1));

/** How many of these sets have each digest. */
function countUsers(all: Blobs[]): Map<string, number> {
  const users = new Map<string, number>();
  for (const blobs of all) for (const digest of blobs.keys()) users.set(digest, (users.get(digest) ?? 0) + 1);
  return users;
}
