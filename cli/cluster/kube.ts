import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import type { AppsV1Api, CoreV1Api, Exec, KubeConfig, NetworkingV1Api, V1Pod, V1Status } from "@kubernetes/client-node";
import { selects } from "../../components/labels.ts";
import { EXIT, UserError } from "../errors.ts";
import { later } from "../later.ts";

/** It takes longer to be read than all the rest. */
export const library = later<typeof import("@kubernetes/client-node")>("@kubernetes/client-node");

/** Where a container's streams go. Each defaults to nowhere. */
export interface Streams {
  stdin?: Readable;
  stdout?: Writable;
  stderr?: Writable;
}

/** A local port that leads to one of a pod's. */
export interface Forward {
  port: number;
  close(): Promise<void>;
}

type ExecSocket = Awaited<ReturnType<Exec["exec"]>>;

/** The kubeconfig's role does not reach this far, which is no fault of the cluster's. */
export class ForbiddenError extends UserError {}

/** The cluster of a kubeconfig's context. */
export class Kube {
  readonly core: CoreV1Api;
  readonly apps: AppsV1Api;
  readonly networking: NetworkingV1Api;
  readonly context: string;
  readonly server: string;
  private readonly config: KubeConfig;

  constructor(config: KubeConfig) {
    this.config = config;
    this.context = config.getCurrentContext();
    this.server = config.getCurrentCluster()?.server ?? "";
    this.core = config.makeApiClient(library().CoreV1Api);
    this.apps = config.makeApiClient(library().AppsV1Api);
    this.networking = config.makeApiClient(library().NetworkingV1Api);
  }

  /** By $KUBECONFIG or ~/.kube/config, as kubectl. Throws a UserError where there is none, or no such context. */
  static load(context?: string): Kube {
    const config = new (library().KubeConfig)();
    try {
      config.loadFromDefault();
    } catch (error) {
      throw new UserError(
        `the kubeconfig cannot be read: ${(error as Error).message.split("\n")[0]}`,
        EXIT.unreachable,
      );
    }
    if (config.getCurrentContext() === NO_KUBECONFIG) {
      throw new UserError("there is no kubeconfig: neither $KUBECONFIG nor ~/.kube/config", EXIT.unreachable);
    }
    if (context) {
      const contexts = config.getContexts().map(({ name }) => name);
      if (!contexts.includes(context)) {
        throw new UserError(
          `the kubeconfig has no context ${context}; there are: ${contexts.join(", ")}`,
          EXIT.unreachable,
        );
      }
      config.setCurrentContext(context);
    }
    return new Kube(config);
  }

  /** Names of the kubeconfig's contexts. */
  contexts(): string[] {
    return this.config.getContexts().map(({ name }) => name);
  }

  /** An answer of the API server. Throws a UserError where it does not answer or refuses; undefined where it has none. */
  async ask<T>(what: string, asked: Promise<T>): Promise<T | undefined> {
    try {
      return await asked;
    } catch (error) {
      if (error instanceof library().ApiException) {
        if (error.code === 404) return undefined;
        const why = REFUSALS[error.code] ?? `the API server answered ${error.code}`;
        throw new (error.code === 403 ? ForbiddenError : UserError)(`${what}: ${why}`, EXIT.unreachable);
      }
      const reason = (error as { cause?: Error }).cause?.message ?? (error as Error).message;
      throw new UserError(
        `the cluster at ${this.server} (context ${this.context}) does not answer: ${reason}`,
        EXIT.unreachable,
      );
    }
  }

  /** The one pod of a workload that is ready, else the one that is there. Undefined where there is none. */
  async podOf(namespace: string, name: string): Promise<V1Pod | undefined> {
    const labelSelector = selects(name);
    const list = await this.ask(`the pods in ${namespace}`, this.core.listNamespacedPod({ namespace, labelSelector }));
    const pods = (list?.items ?? []).filter(({ metadata }) => !metadata?.deletionTimestamp);
    return pods.find(isReady) ?? pods[0];
  }

  /**
   * Runs a command in a container. Returns its exit code. Holds no more of its streams in memory than a few pieces: whoever
   * is slow is waited for. A stdout that is destroyed ends the connection, which does not end the command.
   */
  async exec(pod: V1Pod, container: string, command: string[], streams: Streams = {}): Promise<number> {
    const { namespace = "", name = "" } = pod.metadata ?? {};
    const ended = Promise.withResolvers<number>();
    const { stdin = null, stdout = new PassThrough().resume(), stderr = new PassThrough().resume() } = streams;
    const status = (answer: V1Status) => ended.resolve(exitCodeOf(answer));
    const socket = await new (library().Exec)(this.config)
      .exec(namespace, name, container, command, stdout, stderr, stdin, false, status)
      .catch((error: Error) => {
        throw new UserError(`the container ${container} of ${namespace}/${name} cannot be reached: ${error.message}`);
      });
    const gone = () => ended.reject(new UserError(`the connection to the container ${container} of ${name} broke off`));
    socket.onclose = gone;
    socket.onerror = gone;
    const forget = keepPace(socket, stdout, stdin);
    return await ended.promise.finally(forget);
  }

  /** Runs a command in a container. Returns what it printed; throws a UserError with what it complained of. */
  async run(pod: V1Pod, container: string, command: string[]): Promise<string> {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const printed = [text(stdout), text(stderr)];
    const code = await this.exec(pod, container, command, { stdout, stderr });
    stdout.end();
    stderr.end();
    const [out = "", complaint = ""] = await Promise.all(printed);
    if (code !== 0) throw new UserError(complaint.trim() || `${command[0]} ended with ${code}`);
    return out;
  }

  /** A port of this machine's loopback that leads to a pod's, until it is closed. */
  async forward(pod: V1Pod, port: number): Promise<Forward> {
    const { namespace = "", name = "" } = pod.metadata ?? {};
    const forwarder = new (library().PortForward)(this.config);
    const open = new Set<Socket>();
    const server = createServer((socket) => {
      open.add(socket);
      socket.once("close", () => open.delete(socket));
      socket.on("error", () => socket.destroy());
      forwarder
        .portForward(namespace, name, [port], socket, null, socket)
        .then((connection) => join(connection as ExecSocket, socket))
        .catch(() => socket.destroy());
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const close = async () => {
      for (const socket of open) socket.destroy();
      await new Promise((done) => server.close(done));
    };
    return { port: (server.address() as { port: number }).port, close };
  }
}

/** The context that the client library makes up where it finds none. */
const NO_KUBECONFIG = "loaded-context";

/** What the API server means by a status. */
const REFUSALS: Record<number, string> = {
  401: "the cluster does not accept this kubeconfig's login",
  403: "this kubeconfig may not read it",
};

export const isReady = ({ status }: V1Pod): boolean =>
  (status?.conditions ?? []).some((condition) => condition.type === "Ready" && condition.status === "True");

/** Bytes on their way to the API server from which on a command's input waits. */
const MOST_UNDER_WAY = 4 << 20;

/** The client library writes whatever comes, to either side, and never waits for it to be taken. */
function keepPace(socket: ExecSocket, stdout: Writable, stdin: Readable | null): () => void {
  socket.on("message", () => {
    if (socket.isPaused || !stdout.writableNeedDrain) return;
    socket.pause();
    stdout.once("drain", () => socket.resume());
  });
  const leave = () => {
    // A socket that is paused would not see the other side's answer to its end.
    socket.resume();
    socket.close();
  };
  // Before there was a connection, too: one that nobody leaves any more would keep this process, and the command, for ever.
  if (stdout.destroyed) leave();
  else stdout.once("close", leave);
  // The socket tells how much it still holds, and not when that is less.
  const timer = setInterval(() => {
    if (stdin?.isPaused() && socket.bufferedAmount < MOST_UNDER_WAY) stdin.resume();
  }, 5);
  stdin?.on("data", () => {
    if (socket.bufferedAmount >= MOST_UNDER_WAY) stdin.pause();
  });
  if (!stdin) clearInterval(timer);
  return () => clearInterval(timer);
}

/** Each side's end is the other's: the client library passes on neither, and a connection left open keeps the process alive. */
function join(connection: ExecSocket, socket: Socket): void {
  const forget = keepPace(connection, socket, socket);
  connection.onclose = () => socket.destroy();
  socket.once("close", forget);
  if (socket.destroyed) connection.close();
}

function exitCodeOf(status: V1Status): number {
  if (status.status === "Success") return 0;
  const cause = status.details?.causes?.find(({ reason }) => reason === "ExitCode");
  return Number(cause?.message ?? 1);
}
