import type { LocalStackSettings } from "../../config/settings.ts";
import { CA_FOLDER, CA_VARIABLES } from "../ca-environment.ts";
import { POD_LAYOUT as LAYOUT } from "./layout.ts";
import { localstackHostAndPort } from "./urls.ts";

/** Seconds between two savings of what has changed: what a kill can cost. localstack-persist's own default is 10. */
export const SAVE_INTERVAL = 5;

/**
 * Seconds before a kill from which on nothing is lost: the interval, and the time that one round of saving takes (measured:
 * 6 s for a small state, 10.5 s with 10,000 messages on a busy machine of two cores), with a margin.
 */
export const LOST_AT_MOST = 3 * SAVE_INTERVAL;

/** Seconds for LocalStack to save its state and end: a large one takes long, and what is not saved is lost. */
export const GRACE = 90;

/** Docker's socket inside the pod. */
export const DOCKER_SOCKET = "/run/homecloud-docker/docker.sock";

/** The pod's end of Docker's bridge, where functions find LocalStack, and the bridge's width. */
export const DOCKER_BRIDGE = { address: "172.17.0.1", prefix: 16 };

/** What the free services need beyond themselves: roles and tokens for all, logs and rules for Lambda, Terraform's tags. */
const NEEDED = ["iam", "sts", "logs", "events", "cloudformation", "s3control"];

/** The services that run: those asked for and what they need. */
export function servicesOf({ services }: Pick<LocalStackSettings, "services">): string[] {
  return [...new Set([...services, ...NEEDED])];
}

export interface EnvironmentOptions {
  settings: LocalStackSettings;
  /** Whether clients come by HTTPS. */
  https: boolean;
  /** Whether there is a private CA that functions must be told of. */
  privateCa: boolean;
}

/**
 * LocalStack's configuration. The user's own settings come first, so that none can undo what the pod is built on.
 * Source: https://docs.localstack.cloud/aws/capabilities/config/configuration/
 */
export function localstackEnvironment(options: EnvironmentOptions): Record<string, string> {
  const { settings, https } = options;
  return {
    // Clients come through the gate only; what LocalStack tells the world about itself stays off.
    DISABLE_EVENTS: "1",
    SKIP_SSL_CERT_DOWNLOAD: "1",
    EAGER_SERVICE_LOADING: "1",
    // Its other server, the default, holds in memory what a client has not taken yet, and spools uploads where no quota sees
    // them (measured, 4.14: a download of 1 GiB ended the container at 2Gi; with this one it stays at 320 MiB).
    GATEWAY_SERVER: "hypercorn",
    // Five cold starts at once took 16 s on two busy cores; LocalStack gives up after 20.
    LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT: "60",
    // Else a function that asks for x86_64, which is the default, gets an image that an arm64 node cannot run.
    LAMBDA_IGNORE_ARCHITECTURE: "1",
    // For init scripts, `awslocal` among them: else it would ask for LOCALSTACK_HOST, which is there only once they have run.
    AWS_ENDPOINT_URL: `http://${LAYOUT.loopback}:${LAYOUT.localstackPort}`,
    AWS_DEFAULT_REGION: settings.region,
    ...settings.environment,
    SERVICES: servicesOf(settings).join(","),
    STRICT_SERVICE_LOADING: "1",
    // URLs that it hands out: https://HOST:PORT/queue/… works from every place that knows the name.
    LOCALSTACK_HOST: localstackHostAndPort(settings),
    USE_SSL: https ? "1" : "0",
    SQS_ENDPOINT_STRATEGY: "path",
    // Functions call back over the pod's own network.
    GATEWAY_LISTEN: `0.0.0.0:${LAYOUT.localstackPort}`,
    // Its own limit, 5 s, would cut the last saving short: 50,000 messages took 10 s (measured).
    SHUTDOWN_TIMEOUT: String(GRACE - 10),
    // Port 53 is root's, and names are answered by the cluster.
    DNS_ADDRESS: "0",
    ...persistence(settings),
    ...lambdaEnvironment(settings, options.privateCa),
  };
}

/** LocalStack's own folder in its container. */
export const LOCALSTACK_FOLDER = "/var/lib/localstack";

/**
 * localstack-persist keeps its files in the folder that LocalStack itself would use, which PERSISTENCE opens: DynamoDB's
 * databases then lie on the volume as they are, and survive a kill as SQLite does. In a folder of its own, its default,
 * they are copied at each save (measured: 13 s of items lost in 14 kills, none in 34 this way).
 */
function persistence({ edition }: LocalStackSettings): Record<string, string> {
  if (edition === "pro") return { ACTIVATE_PRO: "1", PERSISTENCE: "1" };
  if (edition === "ephemeral") return {};
  return {
    PERSISTENCE: "1",
    PERSIST_BASE_DIR: `${LOCALSTACK_FOLDER}/state`,
    PERSIST_FREQUENCY: String(SAVE_INTERVAL),
  };
}

/** Where functions run, how they reach LocalStack, and what they trust. Paths are those of the Docker that runs them. */
function lambdaEnvironment({ lambda, environment }: LocalStackSettings, privateCa: boolean): Record<string, string> {
  if (lambda.mode === "none") return {};
  // LocalStack would tell them its own certificate's HTTPS, which no SDK trusts, as clients outside come by HTTPS.
  const endpoint = `-e AWS_ENDPOINT_URL=http://${DOCKER_BRIDGE.address}:${LAYOUT.localstackPort}`;
  // Node's adds to the public CAs. The others' variables would take their place, and functions speak to the internet too.
  const trust = [`-e NODE_EXTRA_CA_CERTS=${CA_VARIABLES.NODE_EXTRA_CA_CERTS}`];
  const flags = [
    ...(lambda.mode === "dind" ? [endpoint] : []),
    ...(lambda.mode === "dind" && privateCa ? [`-v ${CA_FOLDER}:${CA_FOLDER}:ro`, ...trust] : []),
    ...(environment.LAMBDA_DOCKER_FLAGS ? [environment.LAMBDA_DOCKER_FLAGS] : []),
  ];
  return {
    DOCKER_HOST: `unix://${DOCKER_SOCKET}`,
    // Whatever the home network's names are.
    ...(lambda.mode === "dind" ? { HOSTNAME_FROM_LAMBDA: DOCKER_BRIDGE.address } : {}),
    ...(flags.length > 0 ? { LAMBDA_DOCKER_FLAGS: flags.join(" ") } : {}),
  };
}
