import { expect, test } from "vitest";
import { cannotRun } from "../../../lab/error.ts";
import { isAtLeast, listeningPorts, nodeAgentIn } from "../../../lab/preflight.ts";

test("a Go version is compared by number, not by letter", () => {
  expect(isAtLeast("1.26.3", "1.26")).toBe(true);
  expect(isAtLeast("1.27rc1", "1.26")).toBe(true);
  expect(isAtLeast("2.0", "1.26")).toBe(true);
  expect(isAtLeast("1.9", "1.26")).toBe(false);
  expect(isAtLeast("1.25.8", "1.26")).toBe(false);
});

test("only listening sockets count as ports in use", () => {
  const table = `  sl  local_address rem_address   st tx_queue
   0: 0100007F:305B 00000000:0000 0A 00000000:00000000
   1: 0100007F:305C 0100007F:9C40 01 00000000:00000000
`;
  expect(listeningPorts(table)).toEqual([12379]);
});

test("a node agent is recognised by its program, not by its arguments", () => {
  expect(nodeAgentIn("/usr/local/bin/k3s server\0")).toBe("k3s");
  expect(nodeAgentIn("/usr/bin/kubelet\0--config=/x\0")).toBe("kubelet");
  expect(nodeAgentIn("vim\0/etc/rancher/k3s\0")).toBeUndefined();
  expect(nodeAgentIn("")).toBeUndefined();
});

test("every refusal says what to use instead", () => {
  expect(cannotRun("port 16443 is in use").message).toBe(
    "port 16443 is in use; or deploy to a cluster of your own: pulumi up -s homelab",
  );
});
