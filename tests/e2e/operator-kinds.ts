import { apply, kubectl, until } from "./cluster.ts";

/** A part of an OpenAPI schema, as Kubernetes has it. */
interface Schema {
  type: string;
  properties?: Record<string, Schema>;
  items?: Schema;
  additionalProperties?: Schema;
  required?: string[];
}

const text: Schema = { type: "string" };
const texts: Schema = { type: "array", items: text };
const labels: Schema = { type: "object", additionalProperties: text };
const object = (properties: Record<string, Schema>, required: string[] = []): Schema => ({
  type: "object",
  properties,
  required,
});

/**
 * As much of the Prometheus operator's kinds as is used, by its API reference: kubectl refuses a field that is not in it.
 * Source: https://prometheus-operator.dev/docs/api-reference/api/
 */
const KINDS: { kind: string; plural: string; spec: Schema }[] = [
  {
    kind: "ServiceMonitor",
    plural: "servicemonitors",
    spec: object(
      {
        namespaceSelector: object({ any: { type: "boolean" }, matchNames: texts }),
        selector: object({ matchLabels: labels }),
        endpoints: {
          type: "array",
          items: object({
            port: text,
            path: text,
            honorLabels: { type: "boolean" },
            relabelings: {
              type: "array",
              items: object({ action: text, sourceLabels: texts, targetLabel: text, regex: text, replacement: text }),
            },
          }),
        },
      },
      ["endpoints", "selector"],
    ),
  },
  {
    kind: "PrometheusRule",
    plural: "prometheusrules",
    spec: object({
      groups: {
        type: "array",
        items: object(
          {
            name: text,
            interval: text,
            rules: {
              type: "array",
              items: object({ alert: text, record: text, expr: text, for: text, labels, annotations: labels }, [
                "expr",
              ]),
            },
          },
          ["name"],
        ),
      },
    }),
  },
];

const GROUP = "monitoring.coreos.com";

/** Makes the operator's kinds known to the cluster, without an operator. */
export async function addOperatorKinds(): Promise<void> {
  for (const { kind, plural, spec } of KINDS) {
    await apply({
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: `${plural}.${GROUP}` },
      spec: {
        group: GROUP,
        scope: "Namespaced",
        names: { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase() },
        versions: [
          { name: "v1", served: true, storage: true, schema: { openAPIV3Schema: object({ spec }, ["spec"]) } },
        ],
      },
    });
  }
  const served = async () => {
    const { resources } = JSON.parse(await kubectl("get", "--raw", `/apis/${GROUP}/v1`)) as {
      resources: { name: string }[];
    };
    return KINDS.every(({ plural }) => resources.some(({ name }) => name === plural));
  };
  await until(served, 60, "the API server has the operator's kinds");
}

export async function removeOperatorKinds(): Promise<void> {
  const names = KINDS.map(({ plural }) => `customresourcedefinition/${plural}.${GROUP}`);
  await kubectl("delete", "--ignore-not-found", "--wait=true", ...names);
}
