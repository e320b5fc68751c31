import { truncates } from "bcryptjs";
import { z } from "zod";
import { DEFAULT_IMAGES } from "../components/images.ts";
import {
  count,
  form,
  host,
  hostName,
  ipAddress,
  kubernetesName,
  modeByDefault,
  nodePort,
  nonEmpty,
  text,
} from "./forms.ts";
import { addressRange, bytes, container, image, nodeSelector, toleration } from "./kubernetes-forms.ts";
import { localstack } from "./localstack-schema.ts";
import { monitoring } from "./monitoring-schema.ts";
import { nodeTrust } from "./node-trust-schema.ts";
import { registryUi } from "./registry-ui-schema.ts";
import { privateKeyProblem } from "./ssh.ts";

/** Keys whose values never appear in a message, and that must be set with `--secret`. */
export const SECRET_KEYS = ["registryPassword", "piholePassword", "nodeSshPrivateKey", "localstackAuthToken"] as const;

/** How a secret is set. A key has more lines than a prompt takes. */
export const setCommand = (name: string): string =>
  `pulumi config set --secret ${name}${name === "nodeSshPrivateKey" ? " < FILE" : ""}`;

/**
 * A user of the registry. ':' ends the name in basic auth; anything outside this set would have to be quoted somewhere
 * between htpasswd, nginx and Docker's config file.
 */
const userName = text(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, "letters, digits, '.', '_' and '-', 63 at most (no ':')");

/** bcrypt reads the first 72 bytes only: a longer password would accept every other that begins like it. */
const password = z
  .string()
  .min(1, "a password that is not empty")
  .refine((secret) => !truncates(secret), "a password of 72 bytes at most (bcrypt ignores the rest)")
  .refine((secret) => !/[\p{Cc}]/u.test(secret), "a password without control characters");

const resources = z
  .strictObject({
    registry: container("of distribution", { cpu: "100m", memory: "256Mi" }, { cpu: "500m", memory: "512Mi" }),
    gate: container(
      "of nginx, through which every byte passes",
      { cpu: "50m", memory: "32Mi" },
      { cpu: "1", memory: "256Mi" },
    ),
    login: container(
      "of the login check: bcrypt only",
      { cpu: "10m", memory: "16Mi" },
      { cpu: "500m", memory: "64Mi" },
    ),
    quota: container(
      "of what measures the volume and relays writes",
      { cpu: "20m", memory: "16Mi" },
      { cpu: "500m", memory: "128Mi" },
    ),
  })
  .prefault({});

const GENERATION = "a whole number from 1 on";

const registry = z
  .strictObject({
    namespace: kubernetesName.default("registry").describe("Namespace of the registry."),
    host: hostName.optional().describe("Name that image references carry. Defaults to registry.DOMAIN."),
    storage: bytes
      .default("30Gi")
      .describe(
        "What the registry may keep, uploads under way included: the quota. The volume is made this large once.",
      ),
    reserve: bytes
      .default("1Gi")
      .describe("New uploads stop this far below the limit, so that those under way can end."),
    keepFree: bytes.default("2Gi").describe("New uploads stop too when the node's disk has less than this left."),
    storageClass: nonEmpty("the name of a StorageClass").default("local-path").describe("StorageClass of the volume."),
    keepDataOnDestroy: z
      .boolean()
      .default(true)
      .describe("Whether `pulumi destroy` leaves the volume and its namespace, for the next `up` to take back."),
    pullUser: userName.default("puller").describe("Name of the user who only pulls; its generation is appended."),
    pullUserGeneration: count(GENERATION)
      .default(1)
      .describe("Raise by one for a new pull-only user. The one before stays valid until the next raise."),
    keepFormerPullUser: z
      .boolean()
      .default(true)
      .describe(
        "Whether the pull-only user of the generation before is let in. Off once every node and pull secret has the new one.",
      ),
    pullSecretNamespaces: z
      .array(kubernetesName)
      .refine((names) => new Set(names).size === names.length, "each namespace once")
      .default([])
      .describe("Existing namespaces that get the pull secret `registry-pull` and the CA as ConfigMap `homecloud-ca`."),
    localRegistryHosting: z
      .boolean()
      .default(true)
      .describe(
        "Whether to announce the registry in kube-public (KEP-1755). Off on a cluster with another announcement.",
      ),
    monitoringNamespace: kubernetesName
      .optional()
      .describe("Namespace whose pods may read the metrics, beside that of `monitoring`. Nobody else may."),
    nodeSelector: nodeSelector.describe(
      "Labels of the nodes that the registry may run on. local-path ties the volume to the first it runs on.",
    ),
    tolerations: z.array(toleration).default([]).describe("Taints of nodes that the registry may run on all the same."),
    images: z
      .strictObject({
        registry: image.default(DEFAULT_IMAGES.registry).describe("Image of distribution, pinned."),
        nginx: image
          .default(DEFAULT_IMAGES.nginx)
          .describe("Image of the gate, the login check and the quota, pinned. Alpine: the quota needs busybox."),
      })
      .prefault({}),
    resources,
  })
  .prefault({});

const tls = z.discriminatedUnion("mode", [
  z.strictObject({
    mode: z.literal("cluster-issuer"),
    issuer: nonEmpty("the name of a ClusterIssuer").describe("Name of cert-manager's ClusterIssuer."),
    acme: z
      .boolean()
      .default(true)
      .describe("Whether the issuer is Let's Encrypt or another public CA, which needs a public domain."),
  }),
  z.strictObject({
    mode: modeByDefault("private-ca"),
    generation: count(GENERATION)
      .default(1)
      .describe(
        "Raise by one for a new CA. It is signed by the one before too, so whoever trusts that goes on until the next raise.",
      ),
  }),
  z.strictObject({ mode: z.literal("none") }),
]);

const access = z.discriminatedUnion("mode", [
  z.strictObject({
    mode: modeByDefault("ingress"),
    className: nonEmpty("the name of an IngressClass").default("traefik").describe("IngressClass."),
    namespace: kubernetesName.default("kube-system").describe("Namespace of the ingress controller's pods."),
    podLabels: z
      .record(z.string(), z.string("text (in quotes where it looks like a number)"))
      .default({ "app.kubernetes.io/name": "traefik" })
      .describe("Labels of the ingress controller's pods: only they may reach the registry."),
    service: kubernetesName.default("traefik").describe("The controller's Service, for names inside the cluster."),
    trustedProxies: z
      .array(addressRange)
      .default(["10.42.0.0/16"])
      .describe("Ranges that the ingress controller's pods have: their X-Forwarded-For is believed."),
    address: ipAddress.optional().describe("Home network address of the ingress, for DNS records."),
    longUploads: z
      .boolean()
      .default(false)
      .describe("Whether to raise K3s's Traefik read timeout (60 s, body included) through a HelmChartConfig."),
    waitForAddress: z
      .boolean()
      .default(true)
      .describe("Whether `up` waits until the Ingress has an address. Off where no load balancer gives one."),
  }),
  z.strictObject({
    mode: z.literal("node-port"),
    port: nodePort.default(30500).describe("Port on every node that kube-proxy serves."),
    hosts: z
      .array(host)
      .min(1, "one name or address at least")
      .default(["127.0.0.1", "localhost"])
      .describe("Names and addresses by which clients reach the port; the first stands in image references."),
  }),
]);

/** The stack's configuration: one key of `homecloud:` each. What is not named here is an error. */
export const configSchema = z.strictObject({
  kubeconfig: nonEmpty("the path of a kubeconfig")
    .optional()
    .describe("Path of the kubeconfig. Defaults to $KUBECONFIG, then ~/.kube/config."),
  kubeContext: nonEmpty("the name of a context")
    .optional()
    .describe("Context of the kubeconfig. Defaults to its current one."),
  domain: hostName
    .optional()
    .describe(
      "Domain below which registry.DOMAIN lies. Needed unless registry.host is set or access.mode is node-port.",
    ),
  registryUser: userName.default("homelab").describe("User who pushes and pulls."),
  registryPassword: password.optional().describe("That user's password (secret). Generated where it is not set."),
  registry: registry.describe("The registry."),
  registryUi: registryUi.describe("The web page of the registry."),
  localstack: localstack.describe("LocalStack: S3, SQS, SNS, DynamoDB, Lambda."),
  localstackAuthToken: nonEmpty("LocalStack's auth token")
    .optional()
    .describe("Auth token of LocalStack's pro edition (secret)."),
  monitoring: monitoring.describe("What the Prometheus operator and Grafana are told."),
  tls: tls
    .prefault({ mode: "private-ca" })
    .describe("Where certificates come from: a CA of the stack's own, an issuer of cert-manager's, or none at all."),
  access: access
    .prefault({ mode: "ingress" })
    .describe("How clients reach the registry: through an Ingress, or a port on every node."),
  clusterNames: z
    .enum(["coredns-custom", "none"])
    .default("coredns-custom")
    .describe("How pods learn the names: K3s's coredns-custom ConfigMap, or not at all."),
  pihole: z
    .strictObject({
      url: z
        .url({ protocol: /^https?$/, error: "an address such as http://192.168.1.2" })
        .describe(
          "Pi-hole 6's address, for example http://192.168.1.2: its local DNS records are set. Without it they are an output only.",
        ),
    })
    .optional()
    .describe("Pi-hole whose local DNS records the program sets. Without it they are an output only."),
  piholePassword: nonEmpty("a password that is not empty").optional().describe("Pi-hole's (app) password (secret)."),
  nodeTrust: nodeTrust
    .optional()
    .describe("Nodes that pull from the registry by themselves. Without it no node is touched."),
  nodeSshPrivateKey: form(privateKeyProblem)
    .optional()
    .describe("SSH key that logs in to every node (secret). The SSH agent's where it is not set."),
});

/** The configuration as the schema reads it, defaults filled in. */
export type Config = z.output<typeof configSchema>;
