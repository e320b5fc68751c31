/**
 * Container images that are deployed unless a setting says otherwise. Pinned: what ran yesterday runs tomorrow, and a
 * new version is a commit that says why.
 */
export const DEFAULT_IMAGES = {
  /** distribution 3.1; `registry:2` has had no CVE fixes since 2025. */
  registry: "docker.io/library/registry:3.1.2",
  /** nginx's stable line; listens and writes as uid 101. */
  nginx: "docker.io/nginxinc/nginx-unprivileged:1.30.4-alpine",
} as const;
