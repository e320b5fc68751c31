import { z } from "zod";
import { DEFAULT_IMAGES } from "../components/images.ts";
import { hostName, kubernetesName, nodePort, text } from "./forms.ts";
import { container, image, nodeSelector, toleration } from "./kubernetes-forms.ts";

/** The page's entry script writes it with sed, between `~`, into an attribute in quotes. */
const value = text(/^[^~&\\"<>\p{Cc}]*$/u, 'text without ~ & \\ " < > and line breaks, which the page would misread');

export const registryUi = z
  .strictObject({
    enabled: z.boolean().default(true).describe("Whether there is a web page at all."),
    namespace: kubernetesName.default("registry-ui").describe("Namespace of the page."),
    host: hostName.optional().describe("Name of the page. Defaults to registry-ui.DOMAIN."),
    port: nodePort.default(30501).describe("Port on every node, with access.mode node-port."),
    allowDelete: z
      .boolean()
      .default(false)
      .describe("Whether the user who pushes may delete images on the page: by digest, with every tag that has it."),
    environment: z
      .record(text(/^[A-Za-z_][A-Za-z0-9_]*$/, "the name of an environment variable"), value)
      .default({})
      .describe("Further settings of the page, such as THEME or TAGLIST_PAGE_SIZE: its README names them all."),
    nodeSelector: nodeSelector.describe("Labels of the nodes that the page may run on."),
    tolerations: z.array(toleration).default([]).describe("Taints of nodes that the page may run on all the same."),
    images: z
      .strictObject({
        page: image.default(DEFAULT_IMAGES.registryUi).describe("Image of the page, pinned."),
        nginx: image.default(DEFAULT_IMAGES.nginx).describe("Image of the gate in front of it, pinned."),
      })
      .prefault({}),
    resources: z
      .strictObject({
        page: container("of the page's files", { cpu: "10m", memory: "16Mi" }, { cpu: "200m", memory: "64Mi" }),
        gate: container("of nginx in front of it", { cpu: "20m", memory: "16Mi" }, { cpu: "500m", memory: "64Mi" }),
      })
      .prefault({}),
  })
  .prefault({});
