import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";

/** A request as it arrived: nothing decoded, sorted or merged. */
export interface Seen {
  method: string | undefined;
  url: string | undefined;
  headers: [string, string][];
  body: Buffer;
}

/** Stands where LocalStack would: keeps what it is asked, and answers as it is told. */
export class Recorder {
  readonly port: number;
  readonly seen: Seen[] = [];
  readonly server: Server;
  /** What is answered once the body is there. */
  answer: (response: ServerResponse, request: IncomingMessage, body: Buffer) => unknown = (response) => response.end();
  /** In place of all of that: answers before, or without, the body. */
  listener: RequestListener | undefined;

  private constructor(server: Server, port: number) {
    this.server = server;
    this.port = port;
    server.on("request", (request, response) => this.take(request, response));
  }

  static async start(port: number, idle = 60_000): Promise<Recorder> {
    const server = createServer({ maxHeaderSize: 2 ** 20, requestTimeout: 0, keepAliveTimeout: idle });
    // Else Node announces its timeout and adds a second to it.
    Object.assign(server, { keepAliveTimeoutBuffer: 0 });
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return new Recorder(server, port);
  }

  /** What was asked last. */
  get last(): Seen {
    const last = this.seen.at(-1);
    if (!last) throw new Error("nothing was asked");
    return last;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  private async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.sendDate = false;
    if (this.listener) return void this.listener(request, response);
    const body = await buffer(request).catch(() => undefined);
    if (!body) return;
    const { rawHeaders } = request;
    const headers = rawHeaders.flatMap((name, at): [string, string][] =>
      at % 2 === 0 ? [[name, rawHeaders[at + 1] ?? ""]] : [],
    );
    this.seen.push({ method: request.method, url: request.url, headers, body });
    await this.answer(response, request, body);
  }
}

/** An answer as it arrived, the pieces of a chunked body put together. */
export interface RawAnswer {
  statusLine: string;
  status: number;
  headers: [string, string][];
  body: Buffer;
  /** Informational answers before it. */
  before: string[];
}

/** What is sent: text, a pause, or a wait for an informational answer. */
export type Step = string | Buffer | { pause: number } | { until: string };

/** Sends bytes as they are, and reads until the other side closes: the request has to ask for that. */
export async function sendRaw(port: number, steps: Step[], patience = 10_000): Promise<RawAnswer> {
  const socket = connect(port, "127.0.0.1");
  const pieces: Buffer[] = [];
  const text = () => Buffer.concat(pieces).toString("latin1");
  socket.on("data", (piece) => pieces.push(piece));
  const ended = new Promise((done) => socket.on("close", done).on("error", done));
  const deadline = setTimeout(() => socket.destroy(), patience);
  try {
    for (const step of steps) {
      if (typeof step === "string" || Buffer.isBuffer(step)) socket.write(step);
      else if ("pause" in step) await sleep(step.pause);
      else while (!text().includes(step.until) && !socket.destroyed) await sleep(2);
    }
    await ended;
  } finally {
    clearTimeout(deadline);
    socket.destroy();
  }
  return parseAnswer(Buffer.concat(pieces));
}

function parseAnswer(bytes: Buffer): RawAnswer {
  const before: string[] = [];
  for (let rest = bytes; ; ) {
    const end = rest.indexOf("\r\n\r\n");
    if (end === -1) throw new Error(`no answer: ${rest.toString("latin1").slice(0, 200)}`);
    const [statusLine = "", ...lines] = rest.subarray(0, end).toString("latin1").split("\r\n");
    const status = Number(statusLine.split(" ")[1]);
    rest = rest.subarray(end + 4);
    if (status >= 100 && status < 200 && status !== 101) {
      before.push(statusLine);
      continue;
    }
    const headers = lines.map((line): [string, string] => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    });
    const chunked = headers.some(([name, value]) => /^transfer-encoding$/i.test(name) && /chunked/i.test(value));
    return { statusLine, status, headers, body: chunked ? joinChunks(rest) : rest, before };
  }
}

function joinChunks(bytes: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let rest = bytes; ; ) {
    const line = rest.indexOf("\r\n");
    const length = Number.parseInt(rest.subarray(0, line).toString(), 16);
    if (line === -1 || Number.isNaN(length)) throw new Error("the chunked body was cut");
    if (length === 0) return Buffer.concat(pieces);
    pieces.push(rest.subarray(line + 2, line + 2 + length));
    rest = rest.subarray(line + 4 + length);
  }
}
