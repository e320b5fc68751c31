import type * as pulumi from "@pulumi/pulumi";
import type { RegistryUiSettings } from "../config/settings.ts";
import type { Content } from "./checksum.ts";
import { GatedWorkload, type WorkloadArgs } from "./gated-workload.ts";
import { RESOLVE_NAMES, toPods } from "./network-policies.ts";
import { POD_LAYOUT as REGISTRY_LAYOUT } from "./registry/layout.ts";
import { renderUiFiles } from "./registry-ui/gate.ts";
import { POD_LAYOUT } from "./registry-ui/layout.ts";
import { OBJECTS, registryUiPod } from "./registry-ui/pod.ts";

export interface RegistryUiStackArgs extends WorkloadArgs {
  registryUi: RegistryUiSettings;
  registry: {
    /** What image references begin with. */
    host: string;
    namespace: string;
    /** Name of its gate's Service, which its certificate carries where the gate terminates TLS. */
    service: string;
    /** That Service. The page's gate looks its name up once, when it starts: the pod waits for it. */
    reachedBy: pulumi.Resource;
  };
}

/** A web page to browse the registry's images. Each visitor sees what their own login may see. */
export class RegistryUiStack extends GatedWorkload {
  /** Where people reach it, for example `https://registry-ui.homelab.local`. */
  readonly url: string;

  private readonly args: RegistryUiStackArgs;

  constructor(name: string, args: RegistryUiStackArgs, opts?: pulumi.ComponentResourceOptions) {
    const { registryUi: settings, registry, tls } = args;
    const common = { ...settings, workload: "registry-ui", podSecurity: "restricted" as const };
    super("homecloud:index:RegistryUiStack", name, args, common, opts);
    this.args = args;
    this.url = `${tls.mode === "none" ? "http" : "https"}://${settings.host}`;

    const reachesOut = [RESOLVE_NAMES, toPods(registry.namespace, "registry", REGISTRY_LAYOUT.gatePort)];
    const policies = this.networkPolicies({ gatePort: POD_LAYOUT.gatePort, reachesOut });
    const files = this.configMap(OBJECTS.files, this.files());
    const certificate = this.certificateSecret(OBJECTS.certificate);
    const read = [files, ...(this.gateTls && certificate ? [certificate] : []), ...this.registryCa()];
    const pod = registryUiPod({ settings, registryHost: registry.host, tls: this.gateTls });
    const deployment = this.deployment(pod, read, [...policies, registry.reachedBy]);
    this.services(deployment, { service: this.servicePort, node: settings.port });
    this.ingresses([settings.hostName], OBJECTS.certificate, certificate?.resource);

    this.registerOutputs({ url: this.url, namespace: this.namespace });
  }

  private files(): Record<string, string> {
    const { registry, registryUi } = this.args;
    return renderUiFiles(POD_LAYOUT, {
      ...this.gateOptions,
      registry: {
        // Its gate ends TLS where this one does.
        address: `${registry.service}:${this.servicePort}`,
        host: registry.host,
        tlsName: this.gateTls ? registry.service : undefined,
      },
      allowDelete: registryUi.allowDelete,
    });
  }

  /** What the gate knows the registry's by, where that terminates TLS. */
  private registryCa(): Content[] {
    const { ca } = this.args;
    if (!ca || !this.gateTls) return [];
    return [this.configMap(OBJECTS.ca, { "ca.crt": ca.certificate })];
  }
}
