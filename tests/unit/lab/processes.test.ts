import { expect, test } from "vitest";
import { shownAsRunning } from "../../../lab/cluster/readiness.ts";
import { mountsBelow } from "../../../lab/cluster/teardown.ts";
import { parseStartTime } from "../../../lab/processes.ts";

const stat = (name: string, state: string) => `42 (${name}) ${state} 1 ${"0 ".repeat(17)}98765 0 0`;

test("a process is told from its successor by its start time, whatever its name", () => {
  expect(parseStartTime(stat("etcd", "S"))).toBe("98765");
  expect(parseStartTime(stat("a) R 1 (b", "S"))).toBe("98765");
});

test("a zombie does not run", () => {
  expect(parseStartTime(stat("etcd", "Z"))).toBeUndefined();
});

test("mounts are undone from the inside out, and only the lab's", () => {
  const table = `/dev/vda / ext4 rw 0 0
tmpfs /state/kubelet/pods/a tmpfs rw 0 0
tmpfs /state/kubelet/pods/a/b\\040c tmpfs rw 0 0
tmpfs /state-of-others/x tmpfs rw 0 0
`;
  expect(mountsBelow(table, ["/state"])).toEqual(["/state/kubelet/pods/a/b c", "/state/kubelet/pods/a"]);
});

test("only containers that the API shows as running have to run", () => {
  const containerStatuses = [
    { containerID: "containerd://abc", state: { running: {} } },
    { containerID: "containerd://def", state: {} },
    {},
  ];
  expect(shownAsRunning({ items: [{ status: { containerStatuses } }, { status: {} }] })).toEqual(["abc"]);
});
