import { expect, test } from "vitest";
import { netfilterCleanup } from "../../../lab/cluster/netfilter-cleanup.ts";

const saved = `*filter
:INPUT DROP [0:0]
:DOCKER - [0:0]
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -i homecloud0 -m comment --comment homecloud-lab -j ACCEPT
-A INPUT -s 10.0.0.0/8 -m comment --comment "not homecloud-lab" -j ACCEPT
-A DOCKER -i eth0 -j DROP
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
COMMIT
`;

test("only KUBE- chains and the lab's own rules go", () => {
  expect(netfilterCleanup(saved, "homecloud-lab")).toBe(`*filter
-D INPUT -j KUBE-FIREWALL
-D INPUT -i homecloud0 -m comment --comment homecloud-lab -j ACCEPT
-F KUBE-FIREWALL
-X KUBE-FIREWALL
COMMIT
`);
});

test("a machine without such rules is left alone", () => {
  expect(netfilterCleanup("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", "homecloud-lab")).toBe("");
});
