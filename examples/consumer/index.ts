import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";

const config = new pulumi.Config();
const homecloud = new pulumi.StackReference(config.require("homecloudStack"));

/** An output that must be there. Those that are secret in homecloud's stack stay secret here. */
const required = (name: string): pulumi.Output<string> => homecloud.requireOutput(name).apply(String);

const host = required("registryHost");
const user = required("registryPullUser");
const password = pulumi.secret(required("registryPullPassword"));
/** PEM, or empty where the registry's certificate is a public CA's. */
const caCertificate = homecloud.getOutput("caCertificate").apply((pem) => (typeof pem === "string" ? pem : ""));

const namespace = new k8s.core.v1.Namespace("app", { metadata: { name: config.get("namespace") ?? "app" } });
const metadata = { namespace: namespace.metadata.name };

// The user who only pulls: whoever reads this Secret cannot overwrite an image.
const pullSecret = new k8s.core.v1.Secret("registry-pull", {
  metadata,
  type: "kubernetes.io/dockerconfigjson",
  stringData: {
    ".dockerconfigjson": pulumi.secret(
      pulumi.all([host, user, password]).apply(([registry, username, secret]) => {
        const auth = Buffer.from(`${username}:${secret}`).toString("base64");
        return JSON.stringify({ auths: { [registry]: { username, password: secret, auth } } });
      }),
    ),
  },
});

// Where homecloud's output `caEnvironment` expects it. Image pulls do not read it: that is the nodes' trust.
const CA_DIRECTORY = "/etc/homecloud-ca";
const ca = new k8s.core.v1.ConfigMap("homecloud-ca", { metadata, data: { "ca.crt": caCertificate } });
const caEnvironment = homecloud
  .getOutput("caEnvironment")
  .apply((variables: unknown) =>
    typeof variables === "object" && variables !== null
      ? Object.entries(variables).map(([name, value]) => ({ name, value: String(value) }))
      : [],
  );

const labels = { "app.kubernetes.io/name": "app" };
const deployment = new k8s.apps.v1.Deployment("app", {
  metadata: { ...metadata, labels },
  spec: {
    selector: { matchLabels: labels },
    template: {
      metadata: { labels },
      spec: {
        imagePullSecrets: [{ name: pullSecret.metadata.name }],
        automountServiceAccountToken: false,
        containers: [
          {
            name: "app",
            image: pulumi.interpolate`${host}/${config.get("image") ?? "demo/app:1.0.0"}`,
            env: caEnvironment,
            volumeMounts: [{ name: "homecloud-ca", mountPath: CA_DIRECTORY, readOnly: true }],
            resources: { requests: { cpu: "50m", memory: "64Mi" }, limits: { memory: "256Mi" } },
          },
        ],
        volumes: [{ name: "homecloud-ca", configMap: { name: ca.metadata.name } }],
      },
    },
  },
});

export const image = deployment.spec.template.spec.containers[0]?.image;
