/**
 * Container images that are deployed unless a setting says otherwise. Pinned: what ran yesterday runs tomorrow, and a
 * new version is a commit that says why.
 */
export const DEFAULT_IMAGES = {
  /** distribution 3.1; `registry:2` has had no CVE fixes since 2025. */
  registry: "docker.io/library/registry:3.1.2",
  /** nginx's stable line; listens and writes as uid 101. */
  nginx: "docker.io/nginxinc/nginx-unprivileged:1.30.4-alpine",
  /** The web page of the registry. */
  registryUi: "docker.io/joxit/docker-registry-ui:2.6.0",
  /** The last free LocalStack (Apache 2.0), with the persistence that only the paid edition has by itself. */
  localstackPersist: "docker.io/gresau/localstack-persist:4.14.0",
  /** The last free LocalStack as it is: forgets everything with its pod. Newer tags exit without a token. */
  localstack: "docker.io/localstack/localstack:4.14.0",
  localstackPro: "docker.io/localstack/localstack-pro:4.14.0",
  /** Docker inside a pod, where Lambda functions run. */
  dind: "docker.io/library/docker:28.5.2-dind",
} as const;
