import { expect, test } from "vitest";
import { parseMetrics } from "../../../cli/status/metrics.ts";
import type { Status } from "../../../cli/status/read.ts";
import { renderStatus } from "../../../cli/status/screen.ts";

const NOW = new Date("2026-11-21T12:00:00Z");

const STATUS: Status = {
  context: "home",
  stack: "homelab",
  workloads: [
    {
      ...{ name: "registry", namespace: "registry", state: "running", ready: true, images: ["registry:3.1.2"] },
      ...{ addresses: ["https://registry.homelab.local"], unreadable: [] },
      storage: { used: 3 * 2 ** 30, limit: 30 * 2 ** 30, full: false },
      certificateEnds: new Date("2026-12-01T12:00:00Z"),
    },
    {
      ...{ name: "localstack", namespace: "localstack", state: "CrashLoopBackOff", ready: false, images: [] },
      ...{ addresses: [], unreadable: [] },
      storage: { used: 20, limit: 20, full: true },
      certificateEnds: new Date("2026-11-20T12:00:00Z"),
    },
  ],
  trustedNodes: ["server-1", "agent-1"],
  lastCollection: new Date("2026-11-01T00:00:00Z"),
  writesHeld: false,
  unreadable: [],
};

test("all of it fits on one screen, and tells what needs attention", () => {
  const screen = renderStatus(STATUS, NOW);
  expect(screen.split("\n").length).toBeLessThan(15);
  expect(screen).toMatch(/^Homecloud \(stack homelab\) in context home$/m);
  expect(screen).toMatch(/^registry +running +3 GiB of 30 GiB \(10 %\) +2026-12-01 \(10 days\) +registry:3\.1\.2$/m);
  expect(screen).toMatch(/^localstack +CrashLoopBackOff +20 B of 20 B \(100 %\) FULL +EXPIRED 2026-11-20/m);
  expect(screen).toContain("registry: https://registry.homelab.local");
  expect(screen).toContain("nodes that trust the registry: server-1, agent-1");
  expect(screen).toContain("last garbage collection: 2026-11-01");
});

test("what is not there is said", () => {
  const screen = renderStatus(
    { ...STATUS, stack: undefined, workloads: [], trustedNodes: undefined, lastCollection: undefined },
    NOW,
  );
  expect(screen).toContain("Homecloud in context home");
  expect(screen).toContain("not managed here (nodeTrust)");
  expect(screen).toContain("last garbage collection: not known");
});

test("samples of Prometheus' text, with their labels", () => {
  const text = '# HELP a x\n# TYPE a gauge\na 1.5\nb{c="d e"} 2\n\n';
  expect(parseMetrics(text)).toEqual(
    new Map([
      ["a", 1.5],
      ['b{c="d e"}', 2],
    ]),
  );
});
