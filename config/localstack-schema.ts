import { z } from "zod";
import { DEFAULT_IMAGES } from "../components/images.ts";
import { hostName, kubernetesName, modeByDefault, nonEmpty, text } from "./forms.ts";
import { addressRange, bytes, container, image, nodeSelector, toleration } from "./kubernetes-forms.ts";

/** Services that LocalStack's free editions have, by the names that its SERVICES knows. */
const service = text(/^[a-z][a-z0-9-]*$/, "a service as LocalStack names it, for example s3, sqs or dynamodb");

/** What addresses at home can be, and those of pods: RFC 1918, RFC 4193, link-local and loopback. */
export const HOME_RANGES = [
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "169.254.0.0/16",
  "127.0.0.0/8",
  "fc00::/7",
  "fe80::/10",
  "::1/128",
];

const lambda = z.discriminatedUnion("mode", [
  z.strictObject({
    mode: modeByDefault("dind"),
    imageStorage: bytes
      .default("5Gi")
      .describe(
        "What the runtimes' images may take, within localstack.storage; above it those not in use are removed.",
      ),
    imagesFolder: text(/^\/.*[^/]$/, "an absolute path on the node, without a slash at its end")
      .optional()
      .describe("Folder on the node with archives of images (docker save *.tar), for homes without the internet."),
    image: image.default(DEFAULT_IMAGES.dind).describe("Image of the Docker that functions run in, pinned."),
    resources: container(
      "of that Docker and all functions in it",
      { cpu: "100m", memory: "256Mi" },
      { cpu: "2", memory: "2Gi" },
    ),
  }),
  z.strictObject({
    mode: z.literal("host-docker"),
    socket: nonEmpty("the path of a Docker socket on the node")
      .default("/var/run/docker.sock")
      .describe("Docker's socket on the node: whoever reaches LocalStack is root there."),
    group: z
      .int("the number of the socket's group")
      .describe("Number of the group that the socket belongs to: stat -c %g /var/run/docker.sock."),
  }),
  z.strictObject({ mode: z.literal("none") }),
]);

/** Names by which LocalStack is configured and which the program sets itself. */
const environmentName = text(/^[A-Za-z_][A-Za-z0-9_]*$/, "the name of an environment variable");

export const localstack = z
  .strictObject({
    enabled: z.boolean().default(true).describe("Whether there is a LocalStack at all."),
    edition: z
      .enum(["community", "pro", "ephemeral"])
      .default("community")
      .describe(
        "Which LocalStack. community: the last free release with localstack-persist. pro: LocalStack's own, with a token. ephemeral: nothing survives a restart.",
      ),
    namespace: kubernetesName.default("localstack").describe("Namespace of LocalStack."),
    host: hostName
      .optional()
      .describe("Name of the endpoint. Defaults to localstack.DOMAIN, or with node-port the first of access.hosts."),
    port: z
      .int("a port from 1024 to 65535")
      .min(1024, "a port from 1024 to 65535")
      .max(65535, "a port from 1024 to 65535")
      .default(30566)
      .describe("Port on every node, with access.mode node-port only."),
    region: text(/^[a-z]{2}(-[a-z]+)+-\d$/, "an AWS region, for example us-east-1")
      .default("us-east-1")
      .describe("Region that the outputs name. LocalStack serves every region."),
    services: z
      .array(service)
      .min(1, "one service at least")
      .default(["s3", "sqs", "sns", "dynamodb", "lambda"])
      .describe("Services that run; what they need (IAM, STS, logs, events, CloudFormation) is added."),
    environment: z
      .record(environmentName, z.string("text (in quotes where it looks like a number)"))
      .default({})
      .describe("Further settings of LocalStack's, for example S3_SKIP_SIGNATURE_VALIDATION."),
    storage: bytes
      .default("20Gi")
      .describe("What LocalStack may keep, the images of Lambda included. The volume is made this large once."),
    reserve: bytes
      .default("512Mi")
      .describe("Writes stop this far below the limit, so that uploads under way can end."),
    keepFree: bytes.default("2Gi").describe("Writes stop too when the node's disk has less than this left."),
    storageClass: nonEmpty("the name of a StorageClass").default("local-path").describe("StorageClass of the volumes."),
    keepDataOnDestroy: z
      .boolean()
      .default(true)
      .describe("Whether `pulumi destroy` leaves the volume and its namespace, for the next `up` to take back."),
    allowedRanges: z
      .array(addressRange)
      .min(1, "one address range at least")
      .default(HOME_RANGES)
      .describe("Who may reach it: LocalStack has no login. Defaults to every private range."),
    lambda: lambda.prefault({ mode: "dind" }).describe("What functions run in."),
    initScripts: nonEmpty("a folder of scripts")
      .default("localstack-init")
      .describe("Folder beside Pulumi.yaml whose scripts (*.sh, *.py) run when LocalStack has started."),
    clientNamespaces: z
      .array(kubernetesName)
      .refine((names) => new Set(names).size === names.length, "each namespace once")
      .default([])
      .describe("Existing namespaces that get the AWS settings as ConfigMap `localstack-aws`, and the CA."),
    monitoringNamespace: kubernetesName
      .optional()
      .describe("Namespace whose pods may read the metrics, beside that of `monitoring`. Nobody else may."),
    nodeSelector: nodeSelector.describe("Labels of the nodes that LocalStack may run on."),
    tolerations: z.array(toleration).default([]).describe("Taints of nodes that LocalStack may run on all the same."),
    images: z
      .strictObject({
        localstack: image
          .optional()
          .describe(
            `Image of LocalStack, pinned. Defaults to ${DEFAULT_IMAGES.localstackPersist}, with pro to ${DEFAULT_IMAGES.localstackPro}.`,
          ),
        nginx: image.default(DEFAULT_IMAGES.nginx).describe("Image of the gate and the upload relay, pinned."),
      })
      .prefault({}),
    resources: z
      .strictObject({
        localstack: container(
          "of LocalStack, DynamoDB's Java included",
          { cpu: "250m", memory: "512Mi" },
          { cpu: "2", memory: "2Gi" },
        ),
        gate: container(
          "of nginx, through which every byte passes",
          { cpu: "50m", memory: "32Mi" },
          { cpu: "1", memory: "128Mi" },
        ),
        uploads: container("of the relay for uploads", { cpu: "20m", memory: "16Mi" }, { cpu: "1", memory: "128Mi" }),
        watch: container(
          "of what measures the volume and keeps copies of the state",
          { cpu: "20m", memory: "32Mi" },
          { cpu: "500m", memory: "256Mi" },
        ),
      })
      .prefault({}),
  })
  .prefault({});
