import { selectorOf } from "../labels.ts";

/** What Prometheus is to read of a workload. */
export interface Scraped {
  /** As its labels say. */
  workload: string;
  namespace: string;
  /** Paths on the port `metrics`. */
  paths: string[];
}

/** As much of a ServiceMonitor's specification as is used. */
export interface ServiceMonitorSpec {
  namespaceSelector: { matchNames: string[] };
  selector: { matchLabels: Record<string, string> };
  endpoints: {
    port: string;
    path: string;
    honorLabels: boolean;
    relabelings: { action: string; sourceLabels: string[]; targetLabel: string }[];
  }[];
}

/**
 * Which pages of which Service Prometheus reads, as often as it reads others.
 * Source: https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.ServiceMonitor
 */
export function serviceMonitor({ workload, namespace, paths }: Scraped): ServiceMonitorSpec {
  return {
    // It stands in Prometheus' namespace: an operator that was told nothing looks nowhere else.
    namespaceSelector: { matchNames: [namespace] },
    selector: { matchLabels: selectorOf(workload) },
    endpoints: paths.map((path) => ({
      port: "metrics",
      path,
      // LocalStack's label `service` is S3 or SQS, and would be renamed in favour of the Kubernetes Service's name.
      honorLabels: true,
      // Two pages of one port are one target else, with two values of `up` at a time.
      relabelings: [{ action: "replace", sourceLabels: ["__metrics_path__"], targetLabel: "metrics_path" }],
    })),
  };
}
