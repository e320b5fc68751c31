import { z } from "zod";
import { labelsOf } from "../components/labels.ts";
import { kubernetesName } from "./forms.ts";

/** Labels by which the program's own objects are found. */
const OWN_LABELS = Object.keys(labelsOf(""));

/** Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set */
const LABEL_NAME = /^([a-z0-9]([a-z0-9.-]*[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;
const LABEL = "labels such as release: kube-prometheus-stack (values in quotes where they look like a number)";

export const monitoring = z
  .strictObject({
    enabled: z
      .boolean()
      .default(false)
      .describe("Whether the Prometheus operator is told what to read and when to warn. It must be in the cluster."),
    namespace: kubernetesName
      .default("monitoring")
      .describe("Namespace of Prometheus and Grafana, which must exist: its pods may read the metrics."),
    labels: z
      .record(z.string(), z.string(LABEL).regex(LABEL_VALUE, LABEL))
      .refine((labels) => Object.keys(labels).every((name) => LABEL_NAME.test(name)), LABEL)
      .refine((labels) => !Object.keys(labels).some((name) => OWN_LABELS.includes(name)), {
        error: `${LABEL}, other than the program's own (${OWN_LABELS.join(", ")})`,
      })
      .default({ release: "kube-prometheus-stack" })
      .describe("Labels by which the Prometheus operator selects ServiceMonitors and PrometheusRules."),
    dashboard: z
      .boolean()
      .default(true)
      .describe("Whether Grafana gets a dashboard: a ConfigMap with the label `grafana_dashboard`, for its sidecar."),
  })
  .prefault({});
