import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { LocalStackSettings } from "../config/settings.ts";
import { GatedWorkload, type WorkloadArgs } from "./gated-workload.ts";
import { clientObject } from "./known-names.ts";
import { awsEnvironment } from "./localstack/aws-environment.ts";
import { renderFiles } from "./localstack/files.ts";
import { readInitScripts } from "./localstack/init-scripts.ts";
import { POD_LAYOUT } from "./localstack/layout.ts";
import { localstackPod, OBJECTS } from "./localstack/pod.ts";
import { endpointUrl } from "./localstack/urls.ts";

export interface LocalStackStackArgs extends WorkloadArgs {
  localstack: LocalStackSettings;
  /** Size of the volume where one was kept from an earlier deployment. Defaults to the setting. */
  claimSize?: string | undefined;
}

/** Half an hour: the first `up` fetches images of half a gigabyte and more, and a large state takes its time to be read. */
const PATIENCE = { seconds: 1800 };

/** LocalStack: AWS's S3, SQS, SNS, DynamoDB and Lambda at home, with a quota, TLS, and data that outlives the pod. */
export class LocalStackStack extends GatedWorkload {
  /** Where clients reach it, for example `https://localstack.homelab.local`. */
  readonly endpoint: string;
  readonly region: string;
  /** Variables that every AWS SDK and the CLI read. */
  readonly awsEnvironment: Record<string, string>;

  private readonly args: LocalStackStackArgs;

  constructor(name: string, args: LocalStackStackArgs, opts?: pulumi.ComponentResourceOptions) {
    const { localstack: settings, access, tls } = args;
    const podSecurity = settings.lambda.mode === "none" ? "restricted" : "privileged";
    const common = { ...settings, workload: "localstack", podSecurity } as const;
    super("homecloud:index:LocalStackStack", name, args, common, opts);
    this.args = args;
    this.endpoint = endpointUrl(settings, tls);
    this.region = settings.region;
    this.awsEnvironment = awsEnvironment(settings, tls);

    const claims = [this.dataClaim(OBJECTS.claim, settings, args.claimSize), ...this.imagesClaim()];
    const policies = this.networkPolicies({ ...POD_LAYOUT, reachesOut: true });
    const scripts = readInitScripts(settings.initScripts);
    const files = this.configMap(OBJECTS.files, this.files());
    const init = Object.keys(scripts).length > 0 ? [this.configMap(OBJECTS.initScripts, scripts)] : [];
    const token = settings.authToken ? [this.secret(OBJECTS.token, { token: pulumi.secret(settings.authToken) })] : [];
    const certificate = this.certificateSecret(OBJECTS.certificate);
    const ca = this.functionsCa();
    const read = [files, ...init, ...token, ...(this.gateTls && certificate ? [certificate] : [])];
    const pod = localstackPod({
      settings,
      https: tls.mode !== "none",
      privateCa: ca.length > 0,
      gateTls: this.gateTls,
      initScripts: Object.keys(scripts),
    });
    const deployment = this.deployment(pod, read, [...claims, ...policies, ...ca], PATIENCE);
    // The same port within the cluster as outside, so that a URL means the same in both.
    const service = access.mode === "node-port" ? settings.port : 80;
    this.services(deployment, { service, node: settings.port, metrics: POD_LAYOUT.metricsPort });
    this.ingresses(settings.certificateNames, OBJECTS.certificate, certificate?.resource);
    this.clientSettings();
    this.client();

    this.registerOutputs({ endpoint: this.endpoint, region: this.region, namespace: this.namespace });
  }

  private files(): Record<string, string> {
    const { allowedRanges, host } = this.args.localstack;
    return renderFiles(POD_LAYOUT, { ...this.gateOptions, allowedRanges, host });
  }

  /** Images can be fetched again: they go with the stack. */
  private imagesClaim(): k8s.core.v1.PersistentVolumeClaim[] {
    const { lambda, storageClass } = this.args.localstack;
    if (lambda.mode !== "dind") return [];
    const volume = { storageClass, storage: lambda.imageStorage };
    return [this.claim(OBJECTS.imagesClaim, volume, { ...this.child, ignoreChanges: ["spec"] })];
  }

  /** What functions need to trust the endpoint by its name. */
  private functionsCa(): pulumi.Resource[] {
    const { ca, localstack } = this.args;
    if (!ca || localstack.lambda.mode !== "dind") return [];
    const metadata = { name: OBJECTS.ca, ...this.metadata };
    const data = { "ca.crt": ca.certificate };
    return [new k8s.core.v1.ConfigMap("localstack-ca", { metadata, data }, this.child)];
  }

  /** What the command line needs. */
  private client(): void {
    const { ca } = this.args;
    const data = { endpoint: this.endpoint, region: this.region, ...this.awsEnvironment };
    this.configMap(clientObject("localstack"), { ...data, ...(ca ? { "ca.crt": ca.certificate } : {}) });
  }

  /** The AWS settings for pods in the namespaces that ask for them. */
  private clientSettings(): void {
    for (const namespace of this.args.localstack.clientNamespaces) {
      const metadata = { name: "localstack-aws", namespace, labels: this.labels };
      new k8s.core.v1.ConfigMap(`localstack-aws-${namespace}`, { metadata, data: this.awsEnvironment }, this.child);
    }
  }
}
