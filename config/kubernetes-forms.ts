import { z } from "zod";
import { text } from "./forms.ts";
import { parseBytes, QUANTITY } from "./quantity.ts";

export const addressRange = z.union([z.cidrv4(), z.cidrv6()], "an address range such as 10.42.0.0/16");

const SIZE = "a size such as 30Gi or 512Mi (k, M, G, T, Ki, Mi, Gi, Ti)";
export const bytes = z
  .string(SIZE)
  .regex(QUANTITY, { error: SIZE, abort: true })
  .refine((size) => (parseBytes(size) ?? 0) > 0, SIZE);
const cpu = text(/^(\d+m|\d+(\.\d+)?)$/, 'processor time such as 500m or "2" (in quotes)');
/** A tag that moves is no pin: `latest`, or none at all. */
export const image = text(
  /^[a-z0-9.-]+(:\d+)?(\/[a-z0-9._-]+)+(:(?!latest$)[\w][\w.-]{0,127}(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})$/,
  "a pinned image with its registry, for example docker.io/library/registry:3.1.2 (not latest)",
);

export const container = (
  what: string,
  requests: { cpu: string; memory: string },
  limits: { cpu: string; memory: string },
) =>
  z
    .strictObject({
      requests: z.strictObject({ cpu: cpu.default(requests.cpu), memory: bytes.default(requests.memory) }).prefault({}),
      limits: z.strictObject({ cpu: cpu.default(limits.cpu), memory: bytes.default(limits.memory) }).prefault({}),
    })
    .prefault({})
    .describe(`Requests and limits ${what}.`);

export const toleration = z.strictObject({
  key: z.string().optional(),
  operator: z.enum(["Exists", "Equal"]).optional(),
  value: z.string().optional(),
  effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]).optional(),
  tolerationSeconds: z.int().optional(),
});

/** Labels of nodes that pods may run on. */
export const nodeSelector = z.record(z.string(), z.string("text (in quotes where it looks like a number)")).default({});
