import { execa } from "execa";
import { afterAll, expect, test } from "vitest";
import { freePort, tryToConnect } from "../ports.ts";
import { apply, kubectl, lab, registryPod, until } from "./cluster.ts";

const NAME = "lab-network";
const NODE_PORT = 30870;

afterAll(() => kubectl("-n", "registry", "delete", "service", NAME, "--ignore-not-found"));

/** A NodePort of the registry's pod, or of none. */
const service = (labels: Record<string, string>) =>
  apply({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: NAME, namespace: "registry" },
    spec: { type: "NodePort", selector: labels, ports: [{ port: 80, targetPort: 8080, nodePort: NODE_PORT }] },
  });

/** Connects to the NodePort from this machine, and from this port where one is given. */
const connectFrom = (localPort?: number) => tryToConnect({ host: "127.0.0.1", port: NODE_PORT, localPort });

async function isRejected(): Promise<boolean> {
  const { stdout } = await execa(lab.bin("iptables-save"), ["-t", "filter"]);
  return stdout.split("\n").some((rule) => rule.includes(`--dport ${NODE_PORT} `) && rule.includes("-j REJECT"));
}

test("a connection that was refused while no pod was ready leaves no trace: its port connects once one is", async () => {
  await registryPod("registry");
  await service({ nobody: "has-it" });
  await until(isRejected, 30, "kube-proxy refuses connections to a NodePort without pods");
  const port = await freePort();
  expect(await connectFrom(port)).toBe("ECONNREFUSED");
  await service({ "app.kubernetes.io/name": "registry" });
  await until(async () => (await connectFrom()) === "connected", 30, "the NodePort leads to the pod");
  expect(await connectFrom(port)).toBe("connected");
});
