import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** Lets through what comes to a port at this address of the machine's. */
export interface Forwarder {
  stop(): Promise<void>;
}

/** To the same port of 127.0.0.1, where alone the lab's NodePorts answer. */
export async function forward(address: string, port: number): Promise<Forwarder> {
  const open = new Set<Socket>();
  const server = createServer((client) => {
    const registry = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [client, registry],
      [registry, client],
    ] as const) {
      open.add(from);
      from.pipe(to);
      // As on a NodePort itself, nobody is told more than that nothing answers.
      from.on("error", () => to.resetAndDestroy());
      from.on("close", () => {
        open.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(port, address);
  await once(server, "listening");
  return {
    stop: async () => {
      server.close();
      for (const socket of open) socket.destroy();
      await once(server, "close");
    },
  };
}
