import { describe, expect, test } from "vitest";
import { placesOf } from "../../components/node-trust/places.ts";
import type { TrustedNode } from "../../config/settings.ts";

const node = (settings: Partial<TrustedNode>): TrustedNode =>
  ({ name: "n", distribution: "k3s", role: "server", mode: "registries-yaml", ...settings }) as TrustedNode;

describe("where a node keeps what it knows of registries", () => {
  test.each<[string, Partial<TrustedNode>, string, string | undefined]>([
    ["a K3s server", {}, "/etc/rancher/k3s/registries.yaml", "k3s"],
    ["a K3s agent", { role: "agent" }, "/etc/rancher/k3s/registries.yaml", "k3s-agent"],
    ["an RKE2 server", { distribution: "rke2" }, "/etc/rancher/rke2/registries.yaml", "rke2-server"],
    ["an RKE2 agent", { distribution: "rke2", role: "agent" }, "/etc/rancher/rke2/registries.yaml", "rke2-agent"],
    [
      "a K3s node with hosts.toml",
      { mode: "hosts-toml" },
      "/var/lib/rancher/k3s/agent/etc/containerd/certs.d/registry.lab:5000/hosts.toml",
      undefined,
    ],
    [
      "an RKE2 node with hosts.toml",
      { distribution: "rke2", mode: "hosts-toml" },
      "/var/lib/rancher/rke2/agent/etc/containerd/certs.d/registry.lab:5000/hosts.toml",
      undefined,
    ],
    [
      "a plain containerd",
      { distribution: "containerd", mode: "hosts-toml" },
      "/etc/containerd/certs.d/registry.lab:5000/hosts.toml",
      undefined,
    ],
  ])("%s", (_, settings, file, service) => {
    const places = placesOf(node(settings), "registry.lab:5000");
    expect(places.file).toBe(file);
    expect(places.service).toBe(service);
    expect(places.caFile).toBe(`${file.slice(0, file.lastIndexOf("/"))}/homecloud/ca.crt`);
  });

  test("the tools are the distribution's own", () => {
    expect(placesOf(node({}), "r")).toMatchObject({ cri: "k3s crictl", api: "k3s kubectl" });
    expect(placesOf(node({ distribution: "rke2" }), "r").cri).toMatch(
      /^\/var\/lib\/rancher\/rke2\/bin\/crictl --config /,
    );
    expect(placesOf(node({ distribution: "containerd", mode: "hosts-toml" }), "r").cri).toBe("crictl");
  });
});
