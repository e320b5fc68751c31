import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";

const config = new pulumi.Config();
const homecloud = new pulumi.StackReference(config.require("homecloudStack"));

/** An output of homecloud's that is a group of variables; empty where it is not there. */
const variables = (name: string): pulumi.Output<Record<string, string>> =>
  homecloud.getOutput(name).apply((value: unknown) => (value ?? {}) as Record<string, string>);

const awsEnvironment = homecloud.requireOutput("awsEnvironment").apply((value) => value as Record<string, string>);
const caEnvironment = variables("caEnvironment");
/** PEM, or empty where the certificate is a public CA's. */
const caCertificate = homecloud.getOutput("caCertificate").apply((pem) => (typeof pem === "string" ? pem : ""));

const namespace = new k8s.core.v1.Namespace("app", { metadata: { name: config.get("namespace") ?? "aws-app" } });
const metadata = { namespace: namespace.metadata.name };

// All that the program needs to know, under the names that every AWS SDK reads.
const settings = new k8s.core.v1.ConfigMap("aws", {
  metadata,
  data: pulumi.all([awsEnvironment, caEnvironment]).apply(([aws, ca]) => ({ ...aws, ...ca })),
});
// Where homecloud's output `caEnvironment` expects it.
const ca = new k8s.core.v1.ConfigMap("homecloud-ca", { metadata, data: { "ca.crt": caCertificate } });

const job = new k8s.batch.v1.Job("app", {
  metadata,
  spec: {
    backoffLimit: 3,
    template: {
      spec: {
        restartPolicy: "Never",
        automountServiceAccountToken: false,
        containers: [
          {
            name: "app",
            image: config.require("image"),
            envFrom: [{ configMapRef: { name: settings.metadata.name } }],
            volumeMounts: [{ name: "homecloud-ca", mountPath: "/etc/homecloud-ca", readOnly: true }],
            resources: { requests: { cpu: "50m", memory: "64Mi" }, limits: { memory: "256Mi" } },
          },
        ],
        volumes: [{ name: "homecloud-ca", configMap: { name: ca.metadata.name } }],
      },
    },
  },
});

export const jobName = job.metadata.name;
