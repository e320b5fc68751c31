import { once } from "node:events";
import { connect, createServer, type TcpNetConnectOpts } from "node:net";

/**
 * Below what Linux gives to outgoing connections (32768 and up) and to NodePorts (30000 and up): a port that the system
 * chooses (`listen(0)`) may be a connection's of the lab by the time a server listens there.
 */
const FIRST = 20_000;
/** Ports of one of vitest's workers, so that two files side by side never look at the same one. */
const OF_A_WORKER = 2_000;
const WORKERS = 5;

let last = Math.floor(Math.random() * OF_A_WORKER);

/** So many ports of the loopback address that nobody listens on, each another at each call. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let tried = 0; ports.length < count; tried++) {
    if (tried === OF_A_WORKER) throw new Error(`no ${count} free ports from ${FIRST} on`);
    last = (last + 1) % OF_A_WORKER;
    const port = FIRST + ((Number(process.env.VITEST_POOL_ID ?? 1) - 1) % WORKERS) * OF_A_WORKER + last;
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

/** One such port. */
export async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1);
  return port;
}

/** Connects over TCP, and hangs up. Returns "connected", or the code of the error. */
export async function tryToConnect(to: TcpNetConnectOpts): Promise<string> {
  const socket = connect(to);
  try {
    await once(socket, "connect", { signal: AbortSignal.timeout(5000) });
    return "connected";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  } finally {
    socket.destroy();
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
