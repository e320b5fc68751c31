import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { MonitoringSettings } from "../config/settings.ts";
import type { ServedCertificate } from "./gated-workload.ts";
import { labelsOf } from "./labels.ts";
import { renderDashboard } from "./monitoring/dashboard.ts";
import { renderRules, type WatchedCertificate } from "./monitoring/rules.ts";
import { type Scraped, serviceMonitor } from "./monitoring/service-monitor.ts";

/** API of the Prometheus operator, and the kinds of it that are made. */
export const OPERATOR = {
  group: "monitoring.coreos.com",
  version: "v1",
  resources: ["servicemonitors", "prometheusrules"],
} as const;

export interface MonitoringArgs {
  monitoring: MonitoringSettings;
  /** Namespace of the registry. */
  registry: string;
  /** Namespace of LocalStack. Defaults to none. */
  localstack?: string | undefined;
  /** Certificates whose end somebody is to be told of. */
  certificates: ServedCertificate[];
}

/**
 * What Prometheus and Grafana are told: what to read, when to warn, what to show. All of it stands in their namespace, where
 * both look without being told to; names carry those of the namespaces that it is about, so that two stacks do not meet.
 * What is to be there first goes into `dependsOn`: a rule would tell of a pod that has never been there.
 */
export class Monitoring extends pulumi.ComponentResource {
  private readonly args: MonitoringArgs;
  private readonly child: pulumi.CustomResourceOptions;
  private readonly labels = labelsOf("monitoring");

  constructor(name: string, args: MonitoringArgs, opts: pulumi.ComponentResourceOptions = {}) {
    super("homecloud:index:Monitoring", name, {}, opts);
    this.args = args;
    // What a component waits for its parts do not know of by themselves.
    this.child = { parent: this, ...(opts.dependsOn ? { dependsOn: opts.dependsOn } : {}) };
    const { registry, localstack } = args;

    this.serviceMonitor({ workload: "registry", namespace: registry, paths: ["/metrics", "/metrics/registry"] });
    if (localstack) this.serviceMonitor({ workload: "localstack", namespace: localstack, paths: ["/metrics"] });
    this.rules();
    if (args.monitoring.dashboard) this.dashboard();

    this.registerOutputs({});
  }

  private serviceMonitor(scraped: Scraped): void {
    const { workload, namespace } = scraped;
    this.operated(`service-monitor-${workload}`, "ServiceMonitor", namespace, serviceMonitor(scraped));
  }

  private rules(): void {
    const { registry, localstack } = this.args;
    const certificates = pulumi.all(this.args.certificates.map(watched));
    const groups = certificates.apply((certificates) => renderRules({ registry, localstack, certificates }));
    this.operated("prometheus-rule", "PrometheusRule", registry, { groups });
  }

  /** An object that the operator selects. */
  private operated(name: string, kind: string, namespace: string, spec: pulumi.Inputs): void {
    const { monitoring } = this.args;
    const metadata = {
      name: `homecloud-${namespace}`,
      namespace: monitoring.namespace,
      labels: { ...monitoring.labels, ...this.labels },
    };
    const apiVersion = `${OPERATOR.group}/${OPERATOR.version}`;
    new k8s.apiextensions.CustomResource(name, { apiVersion, kind, metadata, spec }, this.child);
  }

  /** Grafana's sidecar finds it by its label, and writes each file into one folder with those of all others. */
  private dashboard(): void {
    const { registry, localstack, monitoring } = this.args;
    const name = `homecloud-${registry}-dashboard`;
    const labels = { ...this.labels, grafana_dashboard: "1" };
    const content = JSON.stringify(renderDashboard({ registry, localstack }), null, 2);
    new k8s.core.v1.ConfigMap(
      "dashboard",
      {
        metadata: { name, namespace: monitoring.namespace, labels },
        data: { [`homecloud-${registry}.json`]: content },
      },
      this.child,
    );
  }
}

/** Whole seconds, as Prometheus has time. */
function watched({ namespace, secret, expires }: ServedCertificate): pulumi.Output<WatchedCertificate> {
  return pulumi.output(expires).apply((date) => ({
    namespace,
    secret,
    expires: date === undefined ? undefined : Math.floor(Date.parse(date) / 1000),
  }));
}
