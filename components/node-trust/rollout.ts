/**
 * The order in which nodes are changed: one agent as the canary, the other agents `batch` at a time, then the servers one
 * by one, because a server that restarts takes its API away. Each group waits for the one before it.
 */
export function rolloutGroups<Node extends { role: "server" | "agent" }>(nodes: Node[], batch: number): Node[][] {
  const agents = nodes.filter(({ role }) => role === "agent");
  const servers = nodes.filter(({ role }) => role === "server");
  return [agents.slice(0, 1), ...chunks(agents.slice(1), batch), ...chunks(servers, 1)].filter(
    (group) => group.length > 0,
  );
}

function chunks<Item>(items: Item[], size: number): Item[][] {
  const count = Math.ceil(items.length / size);
  return Array.from({ length: count }, (_, index) => items.slice(index * size, (index + 1) * size));
}
