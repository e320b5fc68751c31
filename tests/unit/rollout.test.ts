import { describe, expect, test } from "vitest";
import { rolloutGroups } from "../../components/node-trust/rollout.ts";

const agents = (count: number) => Array.from({ length: count }, (_, i) => ({ name: `a${i}`, role: "agent" as const }));
const servers = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ name: `s${i}`, role: "server" as const }));
const names = (groups: { name: string }[][]) => groups.map((group) => group.map(({ name }) => name).join(" "));

describe("the order of a roll-out", () => {
  test.each([
    ["three agents and three servers", [...servers(3), ...agents(3)], 3, ["a0", "a1 a2", "s0", "s1", "s2"]],
    ["more agents than a batch", [...agents(6), ...servers(1)], 2, ["a0", "a1 a2", "a3 a4", "a5", "s0"]],
    ["one at a time", agents(3), 1, ["a0", "a1", "a2"]],
    ["a single server", servers(1), 3, ["s0"]],
    ["servers only, which need no canary", servers(2), 3, ["s0", "s1"]],
    ["one agent", agents(1), 3, ["a0"]],
  ])("%s", (_, nodes, batch, order) => {
    expect(names(rolloutGroups(nodes, batch))).toEqual(order);
  });

  test("every node comes once, whatever the batch", () => {
    const nodes = [...agents(17), ...servers(5)];
    for (let batch = 1; batch <= 20; batch++) {
      const order = rolloutGroups(nodes, batch).flat();
      expect(order.map(({ name }) => name).sort()).toEqual(nodes.map(({ name }) => name).sort());
    }
  });
});
