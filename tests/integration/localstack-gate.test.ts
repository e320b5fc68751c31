import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile } from "node:fs/promises";
import { type ClientRequest, type IncomingMessage, request, type ServerResponse } from "node:http";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { PublishCommand, SNSClient } from "@aws-sdk/client-sns";
import { ReceiveMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { execa } from "execa";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { renderLocalStackGate } from "../../components/localstack/gate.ts";
import { STATE_FILES } from "../../components/localstack/layout.ts";
import { renderUploads } from "../../components/localstack/uploads.ts";
import { podTools, testTools } from "../tools.ts";
import { Front, type FrontOptions } from "./localstack-front.ts";
import { type RawAnswer, Recorder, type Seen, type Step, sendRaw } from "./localstack-recorder.ts";

let front: Front;
let upstream: Recorder;

const startFront = async (options: FrontOptions = {}) => Front.start(await podTools(await testTools()), options);

beforeAll(async () => {
  front = await startFront();
  upstream = await Recorder.start(front.layout.localstackPort);
});
beforeEach(() => {
  upstream.listener = undefined;
  upstream.answer = answerPlainly;
});
afterAll(async () => {
  await upstream?.stop();
  await front?.stop();
});

function answerPlainly(response: ServerResponse): void {
  response.writeHead(200, {
    Server: "TwistedWeb/25.5.0",
    Date: "Sat, 21 Nov 2026 12:00:00 GMT",
    "Content-Length": "2",
  });
  response.end("ok");
}

const S3_SIGNED =
  "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20261121/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=abc";

/** A request as text, with what every one of these has. */
const text = (line: string, headers: string[] = [], body = "") =>
  `${[`${line} HTTP/1.1`, "Host: bucket.s3.localstack.test:4566", "Connection: close", ...headers].join("\r\n")}\r\n\r\n${body}`;

/** A request whose body has a length. */
const withBody = (line: string, headers: string[], body: string) =>
  text(line, [...headers, `Content-Length: ${Buffer.byteLength(body)}`], body);

const chunked = (...pieces: string[]) =>
  [...pieces, ""].map((piece) => `${Buffer.byteLength(piece).toString(16)}\r\n${piece}\r\n`).join("");

/** Sent to the upstream itself and through the gate: what arrives, and what comes back, must be the same. */
const REQUESTS: Record<string, Step[]> = {
  "a plain GET": [text("GET /bucket/key")],
  "the root": [text("GET /")],
  "double slashes": [text("GET //bucket//a///b")],
  "dots within the root": [text("GET /bucket/./a/../b/..")],
  "dots that are encoded": [text("GET /bucket/%2e%2e/b%2F..%2Fc")],
  "percent-encoding in both cases, and of what needs none": [text("GET /bucket/%7e%7E%61%2F%2f%25%20+%2B~!*'()")],
  "reserved characters": [text('GET /bucket/a:b@c;d=e,f&g$h|i^j`k{l}[m]"n<o>\\p')],
  "a key that looks like a file of nginx' own": [text("GET /./full.s3")],
  "a fragment, which no client should send": [text("GET /bucket/a#b?c")],
  "an empty query": [text("GET /bucket/key?")],
  "a query with everything in it": [
    text("GET /bucket?list-type=2&prefix=a%2Fb&delimiter=%2F&x&=&&a=b=c&%zz&%C3%A9=?/"),
  ],
  "a presigned URL": [
    text(
      `GET /bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20261121%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Security-Token=${"t".repeat(30_000)}&X-Amz-Signature=abc`,
    ),
  ],
  "an absolute URI": [text("GET http://bucket.s3.localstack.test:4566/a//b?c")],
  "HTTP/1.0": ["GET /bucket/key HTTP/1.0\r\nHost: localstack.test\r\n\r\n"],
  "headers with underscores, dots and odd characters": [
    text("PUT /bucket/key", ["x-amz-meta-under_score: 1", "x-amz-meta-do.t: 2", "x!#$%&'*+.^`|~y: 3", S3_SIGNED]),
  ],
  "headers twice, in their order": [
    text("GET /bucket/key", [
      "x-amz-meta-a: 1",
      "X-Amz-Meta-A: 2",
      "Cookie: a=1",
      "Cookie: b=2",
      "Accept: x",
      "accept: y",
    ]),
  ],
  "empty headers, and spaces around values": [
    text("GET /bucket/key", ["x-amz-meta-empty:", "x-amz-meta-wide: \t a  b \t "]),
  ],
  "headers in Latin-1": [text("GET /bucket/key", ["x-amz-meta-name: caf\xe9"])],
  "forwarding headers that are not the gate's": [
    text("GET /bucket/key", [
      "X-Forwarded-Host: a",
      "X-Forwarded-Port: 1",
      "Forwarded: for=1.2.3.4",
      "X-Real-IP: 5.6.7.8",
      "Via: x",
    ]),
  ],
  "conditions and ranges": [
    text("GET /bucket/key", [
      "If-Match: a",
      'If-None-Match: "b"',
      "Range: bytes=0-1",
      "If-Range: c",
      "If-Modified-Since: Sat, 21 Nov 2026 12:00:00 GMT",
    ]),
  ],
  "30 KB of headers": [text("GET /bucket/key", [`X-Amz-Security-Token: ${"s".repeat(30_000)}`])],
  "60 headers": [
    text(
      "GET /bucket/key",
      Array.from({ length: 60 }, (_, at) => `x-amz-meta-${at}: ${"v".repeat(20)}`),
    ),
  ],
  "an upload": [withBody("PUT /key", [S3_SIGNED, "Content-Type: text/plain"], "hello")],
  "an upload without a content type": [withBody("PUT /key", [S3_SIGNED], "hello")],
  "an empty upload": [text("PUT /key", [S3_SIGNED, "Content-Length: 0"])],
  "an upload without a length or a body": [text("PUT /key", [S3_SIGNED])],
  "an upload in pieces": [
    text("PUT /key", [S3_SIGNED, "Transfer-Encoding: chunked"]),
    { pause: 20 },
    chunked("first ", "second"),
  ],
  "an upload in aws-chunked, with trailers": [
    text("PUT /key", [
      S3_SIGNED,
      "Content-Encoding: aws-chunked",
      "Transfer-Encoding: chunked",
      "X-Amz-Trailer: x-amz-checksum-crc32",
      "Trailer: x",
      "X-Amz-Decoded-Content-Length: 5",
    ]),
    chunked("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"),
  ],
  "an upload that waits to be let go on": [
    text("PUT /key", [S3_SIGNED, "Expect: 100-continue", "Content-Length: 5"]),
    { until: "100 Continue" },
    "hello",
  ],
  "a JSON operation": [
    withBody("POST /", ["X-Amz-Target: AmazonSQS.SendMessage", "Content-Type: application/x-amz-json-1.0"], '{"a":1}'),
  ],
  "a query operation": [
    withBody("POST /", ["Content-Type: application/x-www-form-urlencoded"], "Action=Publish&Message=a%20b"),
  ],
  "a GET with a body": [withBody("GET /2015-03-31/functions/f", [], "body")],
  "a DELETE with a body": [withBody("DELETE /bucket/key", [], "body")],
  "a method of its own": [text("PROPFIND /bucket/key")],
  "an OPTIONS of a browser": [text("OPTIONS /bucket/key", ["Origin: http://a", "Access-Control-Request-Method: PUT"])],
  HEAD: [text("HEAD /bucket/key")],
};

/** Added by the gate, or between two neighbours only. */
const OF_THE_WAY = /^(connection|keep-alive|transfer-encoding|expect|x-forwarded-(for|proto))$/i;

const ofRequest = ({ method, url, headers, body }: Seen) => ({
  ...{ method, url, body: body.toString("latin1") },
  headers: headers.filter(([name]) => !OF_THE_WAY.test(name)).sort(byName),
});

const ofAnswer = ({ statusLine, headers, body, before }: RawAnswer) => ({
  ...{ statusLine, before, body: body.toString("latin1") },
  headers: headers.filter(([name]) => !OF_THE_WAY.test(name)).sort(byName),
});

/** Equal names stay in their order. */
const byName = ([a]: [string, string], [b]: [string, string]) => {
  const [x, y] = [a.toLowerCase(), b.toLowerCase()];
  return x < y ? -1 : x > y ? 1 : 0;
};

describe("a request arrives as it was sent", () => {
  test.each(Object.entries(REQUESTS))("%s", async (name, steps) => {
    const direct = await sendRaw(upstream.port, steps);
    const sent = ofRequest(upstream.last);
    const count = upstream.seen.length;
    const answer = await sendRaw(front.layout.gatePort, steps);
    expect(upstream.seen.length, answer.body.toString()).toBe(count + 1);
    const arrived = ofRequest(upstream.last);
    // A body in chunks that is there as a whole goes on with its length.
    if (sent.body !== "" && !sent.headers.some(([name]) => name === "Content-Length"))
      arrived.headers = arrived.headers.filter(([name]) => name !== "Content-Length");
    // nginx resolves the authority of a proxy's request line, as a proxy has to.
    if (name === "an absolute URI") sent.url = sent.url?.replace(/^http:\/\/[^/]+/, "");
    expect(arrived).toEqual(sent);
    // The status line is nginx' own for HTTP/1.0 too: 1.1, as Node's is.
    expect(ofAnswer(answer)).toEqual(ofAnswer(direct));
  });

  test("with a path that is not encoded, byte by byte", async () => {
    // Node's server would not take it.
    const other = await startFront();
    const asked: Buffer[] = [];
    const server = createServer((socket) => {
      socket.on("data", (data) => {
        asked.push(data);
        socket.end("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
      });
    }).listen(other.layout.localstackPort, "127.0.0.1");
    const line = Buffer.from('GET /bucket/\xff\xfe\xc3\xa9"<>?\xe9 HTTP/1.1\r\n', "latin1");
    await sendRaw(other.layout.gatePort, [Buffer.concat([line, Buffer.from("Host: a\r\nConnection: close\r\n\r\n")])]);
    expect(Buffer.concat(asked).subarray(0, line.length)).toEqual(line);
    server.close();
    await other.stop();
  });

  test("with the client's address and scheme", async () => {
    await sendRaw(front.layout.gatePort, [text("GET /", ["X-Forwarded-For: 10.0.0.1"])]);
    expect(upstream.last.headers).toContainEqual(["X-Forwarded-For", "127.0.0.1"]);
    expect(upstream.last.headers).toContainEqual(["X-Forwarded-Proto", "http"]);
  });

  test("whatever its path is called: no bucket is hidden by a location", async () => {
    for (const path of [
      "/healthz",
      "/metrics",
      "/full",
      "/full.s3",
      "/writers",
      "/./writers",
      "/health.json",
      "/nginx_status",
    ])
      for (const method of ["GET", "PUT"]) {
        const answer = await sendRaw(front.layout.gatePort, [text(`${method} ${path}`, [S3_SIGNED])]);
        expect(answer.body.toString(), `${method} ${path}`).toBe("ok");
        expect(upstream.last.url).toBe(path);
      }
  });
});

type Answering = (response: ServerResponse) => void;

const ANSWERS: Record<string, Answering> = {
  "headers of LocalStack's own, twice and in any case": (response) => {
    response.writeHead(200, "Fine", [
      ...["Server", "AmazonS3", "Date", "Sat, 21 Nov 2026 12:00:00 GMT", "x-amz-request-id", "ABC", "ETag", 'W/"a"'],
      ...[
        "Set-Cookie",
        "a=1",
        "Set-Cookie",
        "b=2",
        "Vary",
        "Origin",
        "Vary",
        "Accept",
        "X-Pad",
        "x",
        "under_score",
        "1",
      ],
      ...["Cache-Control", "no-store", "Expires", "0", "Link", "</a>", "Content-Length", "2"],
    ]);
    response.end("ok");
  },
  "headers that mean something to nginx": (response) => {
    response.writeHead(200, {
      ...{
        Server: "a",
        Date: "b",
        "Content-Length": "2",
        "X-Accel-Redirect": "/elsewhere",
        "X-Accel-Buffering": "yes",
      },
      ...{ "X-Accel-Expires": "1", "X-Accel-Limit-Rate": "1", "X-Accel-Charset": "koi8-r", Refresh: "1; url=/" },
    });
    response.end("ok");
  },
  "redirects as they are": (response) => {
    response.writeHead(307, { Server: "a", Date: "b", Location: "http://127.0.0.1:4566/x//y", "Content-Length": "0" });
    response.end();
  },
  "no content type where there is none": (response) => {
    response.writeHead(200, { Server: "a", Date: "b", "Content-Length": "6" });
    response.end("<html>");
  },
  "204 without a body": (response) => {
    response.writeHead(204, { Server: "a", Date: "b", "x-amz-version-id": "null" });
    response.end();
  },
  "304 with its tag": (response) => {
    response.writeHead(304, { Server: "a", Date: "b", ETag: '"x"', "Last-Modified": "Sat, 21 Nov 2026 12:00:00 GMT" });
    response.end();
  },
  "206 and its range": (response) => {
    response.writeHead(206, { Server: "a", Date: "b", "Content-Range": "bytes 0-1/10", "Content-Length": "2" });
    response.end("ok");
  },
  "a body in chunks": (response) => {
    response.writeHead(200, { Server: "a", Date: "b", "Content-Type": "application/xml" });
    for (const piece of ["<a>", "<b/>", "</a>"]) response.write(piece);
    response.end();
  },
  "bodies that are compressed, untouched": (response) => {
    response.writeHead(200, { Server: "a", Date: "b", "Content-Encoding": "gzip", "Content-Length": "4" });
    response.end(Buffer.from([0x1f, 0x8b, 0, 255]));
  },
  "30 KB of headers": (response) => {
    response.writeHead(200, { Server: "a", Date: "b", "x-amz-meta-large": "m".repeat(30_000), "Content-Length": "0" });
    response.end();
  },
  ...Object.fromEntries(
    [400, 403, 404, 405, 409, 412, 416, 429, 480, 481, 482, 499, 500, 501, 502, 503, 504].map((status) => [
      `LocalStack's own ${status}`,
      (response: ServerResponse) => {
        response.writeHead(status, {
          Server: "a",
          Date: "b",
          "Content-Type": "application/xml",
          "Content-Length": "14",
        });
        response.end("<Error></Error>".slice(0, 14));
      },
    ]),
  ),
};

describe("an answer comes back as it was given", () => {
  test.each(Object.entries(ANSWERS))("%s", async (_, answer) => {
    upstream.answer = answer;
    for (const asked of [text("GET /bucket/key"), text("PUT /bucket/key", [S3_SIGNED, "Content-Length: 0"])]) {
      const direct = await sendRaw(upstream.port, [asked]);
      expect(ofAnswer(await sendRaw(front.layout.gatePort, [asked]))).toEqual(ofAnswer(direct));
    }
  });

  test("HEAD keeps the length of what it does not send", async () => {
    upstream.answer = (response) => {
      response.writeHead(200, { Server: "a", Date: "b", "Content-Length": "5368709120", "Content-Type": "x/y" });
      response.end();
    };
    const direct = await sendRaw(upstream.port, [text("HEAD /bucket/key")]);
    const answer = await sendRaw(front.layout.gatePort, [text("HEAD /bucket/key")]);
    expect(ofAnswer(answer)).toEqual(ofAnswer(direct));
    expect(answer.headers).toContainEqual(["Content-Length", "5368709120"]);
  });
});

describe("what nginx cannot pass on, it answers with its own error", () => {
  const unpassable: Record<string, [number, string]> = {
    "a path above the root": [400, text("GET /..")],
    "a path above the root, further in": [400, text("GET /bucket/../../key")],
    "a path above the root, encoded": [400, text("GET /%2e%2e/key")],
    "%00": [400, text("GET /bucket/a%00b")],
    "% and no number": [400, text("GET /bucket/100%")],
    "a space in the path": [400, text("GET /bucket/a b")],
    "a control character in the path": [400, text("GET /bucket/a\tb")],
    "a space in a header's name": [400, text("GET /bucket/key", ["x amz: 1"])],
    "NUL in a header": [400, text("GET /bucket/key", ["x-amz-meta-a: a\0b"])],
    "a method in small letters": [400, text("get /bucket/key")],
    "two Authorizations": [400, text("GET /bucket/key", ["Authorization: a", "Authorization: b"])],
    "two If-Match": [400, text("GET /bucket/key", ["If-Match: a", "If-Match: b"])],
    "two lengths": [400, text("PUT /bucket/key", ["Content-Length: 0", "Content-Length: 0"])],
    "a length and chunks": [400, text("PUT /bucket/key", ["Content-Length: 5", "Transfer-Encoding: chunked"])],
    "no Host": [400, "GET /bucket/key HTTP/1.1\r\nConnection: close\r\n\r\n"],
    "OPTIONS *": [400, text("OPTIONS *")],
    "two Hosts": [400, text("GET /bucket/key", ["Host: b"])],
    "two Expects": [400, text("PUT /bucket/key", ["Expect: 100-continue", "Expect: 100-continue"])],
    "two Content-Ranges": [400, text("PUT /bucket/key", ["Content-Range: a", "Content-Range: b"])],
    TRACE: [405, text("TRACE /bucket/key")],
    "another Transfer-Encoding": [501, text("PUT /bucket/key", ["Transfer-Encoding: gzip"])],
    "a line of 70 KB": [414, text(`GET /${"k".repeat(70_000)}`)],
    "a header of 70 KB": [400, text("GET /", [`X-Amz-Security-Token: ${"s".repeat(70_000)}`])],
  };

  test.each(Object.entries(unpassable))("%s", async (_, [status, asked]) => {
    const count = upstream.seen.length;
    const answer = await sendRaw(front.layout.gatePort, [asked]);
    expect(answer.status).toBe(status);
    expect(upstream.seen.length).toBe(count);
  });
});

test("CONNECT is refused, as each nginx does", async () => {
  const { status } = await sendRaw(front.layout.gatePort, [text("CONNECT localstack.test:443")]);
  // 1.22 and 1.30.
  expect([400, 405]).toContain(status);
});

describe("bodies stream", () => {
  test("an upload reaches LocalStack as it is sent, and is on no disk of the gate's", async () => {
    for (const signed of [S3_SIGNED, ""]) {
      const arrived: number[] = [];
      upstream.listener = (asked, response) => {
        asked.on("data", () => arrived.push(performance.now()));
        asked.on("end", () => response.end());
      };
      const upload = send(
        "PUT",
        "/bucket/key",
        signed ? { authorization: signed.slice("Authorization: ".length) } : {},
      );
      upload.write("first");
      await sleep(150);
      expect(arrived.length, "the first piece is there before the second is sent").toBe(1);
      upload.end("second");
      expect((await answerOf(upload)).statusCode).toBe(200);
    }
  });

  test("64 MiB arrive whole in both directions", async () => {
    const content = randomBytes(64 * 2 ** 20);
    const hash = createHash("sha256").update(content).digest("hex");
    upstream.answer = (response, _, body) =>
      response.end(body.length > 0 ? createHash("sha256").update(body).digest("hex") : content);
    const put = await fetch(`${front.url}/bucket/key`, { method: "PUT", body: content });
    expect(await put.text()).toBe(hash);
    const got = Buffer.from(await (await fetch(`${front.url}/bucket/key`)).arrayBuffer());
    expect(createHash("sha256").update(got).digest("hex")).toBe(hash);
  });

  test("the first bytes of a slow answer come at once, and each event after it", async () => {
    const events = 5;
    const sent: number[] = [];
    upstream.listener = async (_, response) => {
      response.writeHead(200, { "content-type": "application/vnd.amazon.eventstream" });
      for (let event = 0; event < events; event++) {
        sent.push(performance.now());
        response.write(`${event} `);
        await sleep(300);
      }
      sent.push(performance.now());
      response.end();
    };
    const answer = await answerOf(send("POST", "/2021-11-15/functions/f/response-streaming-invocations").end());
    const arrived: number[] = [];
    for await (const _ of answer) arrived.push(performance.now());
    expect(arrived).toHaveLength(events);
    for (const [event, at] of arrived.entries())
      expect(at, "before the next is sent").toBeLessThan(sent[event + 1] ?? 0);
  });

  test("a long poll is waited for", async () => {
    upstream.listener = async (_, response) => {
      await sleep(20_000);
      response.end("{}");
    };
    expect(await (await fetch(front.url, { method: "POST", body: "{}" })).text()).toBe("{}");
  });

  test("an answer that ends early ends early for the client", async () => {
    upstream.listener = (_, response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("half", () => response.destroy());
    };
    await expect(fetch(`${front.url}/bucket/key`).then((answer) => answer.text())).rejects.toThrow();
  });

  test("a client that goes away is gone for LocalStack too", async () => {
    const gone = new Promise((done) => {
      upstream.listener = (_, response) => void response.on("close", () => done("gone"));
    });
    const asked = send("GET", "/bucket/key").end();
    await sleep(100);
    asked.destroy();
    expect(await gone).toBe("gone");
  });

  test("an answer before the body's end is passed on", async () => {
    upstream.listener = (_, response) => void response.writeHead(400, { connection: "close" }).end("enough");
    const upload = send("PUT", "/bucket/key", { "content-length": "1000000" });
    upload.write("begun");
    expect((await answerOf(upload)).statusCode).toBe(400);
    upload.destroy();
  });

  test("a WebSocket speaks both ways", async () => {
    const sockets: { destroy(): void }[] = [];
    upstream.server.on("upgrade", (asked, socket) => {
      sockets.push(socket);
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n`,
      );
      socket.on("data", (data: Buffer) => socket.write(`${asked.headers["sec-websocket-key"]} ${data}`));
    });
    const socket = connect(front.layout.gatePort, "127.0.0.1");
    const pieces: string[] = [];
    socket.on("data", (data) => pieces.push(data.toString()));
    const headers = [
      "Upgrade: websocket",
      "Connection: Upgrade",
      "Sec-WebSocket-Key: abc",
      "Sec-WebSocket-Version: 13",
    ];
    socket.write(`GET /_localstack/ws HTTP/1.1\r\nHost: a\r\n${headers.join("\r\n")}\r\n\r\n`);
    await sleep(100);
    expect(pieces.join("")).toContain("101 Switching Protocols");
    socket.write("ping");
    await sleep(100);
    expect(pieces.join("")).toMatch(/abc ping$/);
    socket.destroy();
    for (const open of sockets) open.destroy();
  });
});

describe("connections", () => {
  test.each([
    ["GET", null],
    ["PUT", "object"],
  ])("%s asks LocalStack by name to keep the connection: it closes every other one", async (method, body) => {
    await fetch(`${front.url}/bucket/key`, { method, body });
    expect(upstream.last.headers).toContainEqual(["Connection", "keep-alive"]);
  });

  test("one that LocalStack closes when it was idle for a second costs no request", async () => {
    const other = await startFront();
    const closing = await Recorder.start(other.layout.localstackPort, 1000);
    try {
      const statuses: number[] = [];
      // 20 clients, each with pauses around the second: most requests are sent as a connection is being closed.
      await Promise.all(
        Array.from({ length: 20 }, async (_, client) => {
          for (let round = 0; round < 10; round++) {
            const method = client % 2 === 0 ? "POST" : "PUT";
            statuses.push((await fetch(`${other.url}/bucket/key`, { method, body: "x" })).status);
            await sleep(985 + ((client * 7 + round * 3) % 30));
          }
        }),
      );
      expect(statuses).toHaveLength(200);
      expect(statuses.filter((status) => status !== 200)).toEqual([]);
    } finally {
      await closing.stop();
      await other.stop();
    }
  });

  test("are kept for requests that follow each other", async () => {
    const connections = new Set<number | undefined>();
    upstream.answer = (response, { socket }) => {
      connections.add(socket.remotePort);
      response.end();
    };
    for (let request = 0; request < 50; request++) await fetch(`${front.url}/bucket/key`);
    expect(connections.size).toBeLessThan(10);
  });
});

describe("a bucket in front of the endpoint's name", () => {
  test.each([
    ["reports.localstack.test:4566", "reports.s3.localstack.test:4566"],
    ["my-1st-bucket.localstack.test", "my-1st-bucket.s3.localstack.test"],
    ["reports.LocalStack.test", "reports.s3.localstack.test"],
    ["localstack.test:4566", "localstack.test:4566"],
    ["s3.localstack.test", "s3.localstack.test"],
    ["SQS.localstack.test", "SQS.localstack.test"],
    ["reports.s3.localstack.test", "reports.s3.localstack.test"],
    ["x1.lambda-url.us-east-1.localstack.test", "x1.lambda-url.us-east-1.localstack.test"],
    ["reports.localstackxtest", "reports.localstackxtest"],
    ["reports.localstack.test.example.org", "reports.localstack.test.example.org"],
  ])("%s is handed on as %s", async (asked, handedOn) => {
    await sendRaw(front.layout.gatePort, [`GET /key HTTP/1.1\r\nHost: ${asked}\r\nConnection: close\r\n\r\n`]);
    expect(upstream.last.headers).toContainEqual(["Host", handedOn]);
  });

  test("is S3's, also where nobody has signed, and its uploads are refused over the quota", async () => {
    await front.full(true);
    const lines = ["PUT /key HTTP/1.1", "Host: reports.localstack.test", "Content-Length: 1", "Connection: close"];
    const answer = await sendRaw(front.layout.gatePort, [`${lines.join("\r\n")}\r\n\r\nx`]);
    await front.full(false);
    expect(answer.body.toString()).toContain("<Code>QuotaExceeded</Code>");
  });
});

describe("who gets in", () => {
  let guarded: Front;
  let behind: Recorder;

  beforeAll(async () => {
    const ranges = ["192.168.1.0/24", "fd00:1::/64"];
    guarded = await startFront({ trustedProxies: ["127.0.0.1/32"], allowedRanges: ranges });
    behind = await Recorder.start(guarded.layout.localstackPort);
  });
  afterAll(async () => {
    await behind?.stop();
    await guarded?.stop();
  });

  const from = (address: string, headers: Record<string, string> = {}, method = "GET") =>
    fetch(`${guarded.url}/bucket/key`, { method, headers: { ...headers, "x-forwarded-for": address } });

  test("the home network, as the ingress tells its address, or an address before the ingress'", async () => {
    for (const address of ["192.168.1.7", "fd00:1::7", "203.0.113.5, 192.168.1.7", "192.168.1.7, 127.0.0.1"])
      expect((await from(address)).status, address).toBe(200);
    expect(behind.last.headers).toContainEqual(["X-Forwarded-For", "192.168.1.7"]);
  });

  test("nobody else, whatever they say", async () => {
    for (const address of ["192.168.2.7", "10.42.0.3", "fd00:2::7", "192.168.1.7, 203.0.113.5", "127.0.0.1", ""]) {
      const answer = await from(address);
      expect(answer.status, address).toBe(403);
      await answer.arrayBuffer();
    }
  });

  test("is told in S3's form", async () => {
    const answer = await from("203.0.113.5");
    expect(answer.headers.get("content-type")).toBe("application/xml");
    expect(answer.headers.get("x-amz-request-id")).toMatch(/^[0-9a-f]{32}$/);
    expect(await answer.text()).toMatch(
      /<Code>AccessDenied<\/Code><Message>the address 203.0.113.5 is not in the ranges of the home network.*localstack\.allowedRanges/,
    );
  });

  test("is told what the SDK shows, once, in each protocol", async () => {
    const options = { ...client(guarded.url), maxAttempts: 3 };
    const errors = await Promise.all([
      errorOf(new S3Client({ ...options, forcePathStyle: true }).send(new GetObjectCommand({ Bucket: "b", Key: "k" }))),
      errorOf(new SQSClient(options).send(new ReceiveMessageCommand({ QueueUrl: `${guarded.url}/queue/a` }))),
      errorOf(
        new SNSClient(options).send(
          new PublishCommand({ TopicArn: "arn:aws:sns:us-east-1:000000000000:t", Message: "m" }),
        ),
      ),
    ]);
    for (const error of errors) {
      expect(error.name).toBe("AccessDenied");
      expect(error.message).toContain("localstack.allowedRanges");
      expect(error.$metadata).toMatchObject({ httpStatusCode: 403, attempts: 1 });
    }
  });

  test("plain HTTP, where an ingress says that it was, is sent to HTTPS first", async () => {
    const answer = await fetch(`${guarded.url}/bucket/key?a=b`, {
      headers: { "x-forwarded-proto": "http", "x-forwarded-for": "192.168.1.7" },
      redirect: "manual",
    });
    expect(answer.status).toBe(308);
    expect(answer.headers.get("location")).toBe("https://127.0.0.1/bucket/key?a=b");
    expect((await from("192.168.1.7", { "x-forwarded-proto": "https" })).status).toBe(200);
    expect(behind.last.headers).toContainEqual(["X-Forwarded-Proto", "https"]);
  });
});

describe("while LocalStack is away", () => {
  let alone: Front;

  beforeAll(async () => {
    alone = await startFront();
  });
  afterAll(() => alone?.stop());

  test("every SDK is told that the service is unavailable, and tries again", async () => {
    const options = { ...client(alone.url), maxAttempts: 2 };
    const errors = await Promise.all([
      errorOf(new S3Client({ ...options, forcePathStyle: true }).send(new GetObjectCommand({ Bucket: "b", Key: "k" }))),
      errorOf(new SQSClient(options).send(new ReceiveMessageCommand({ QueueUrl: `${alone.url}/queue/a` }))),
      errorOf(
        new SNSClient(options).send(
          new PublishCommand({ TopicArn: "arn:aws:sns:us-east-1:000000000000:t", Message: "m" }),
        ),
      ),
    ]);
    for (const error of errors) {
      expect(error.name).toBe("ServiceUnavailable");
      expect(error.message).toContain("LocalStack does not answer");
      expect(error.$metadata).toMatchObject({ httpStatusCode: 503, attempts: 2 });
    }
  });

  test("uploads are told the same, with the relay and without it", async () => {
    for (const relay of [true, false]) {
      if (!relay) await alone.end("relay", "SIGKILL");
      const answer = await fetch(`${alone.url}/bucket/key`, { method: "PUT", body: "x" });
      expect(answer.status).toBe(503);
      expect(answer.headers.get("retry-after")).toBe("5");
      expect(await answer.text()).toContain("<Code>ServiceUnavailable</Code>");
    }
  });

  test("it is counted as an error of that service", async () => {
    await sleep(50);
    expect(await alone.count("errors.sqs")).toBe(2);
    expect(await alone.count("errors.sns")).toBe(2);
    expect(await alone.count("errors.s3")).toBe(4);
    expect(await alone.count("requests.5xx")).toBe(8);
    expect(await alone.count("refused")).toBe(0);
  });
});

describe("what the gate tells", () => {
  const metrics = (path: string) => fetch(`http://127.0.0.1:${front.layout.metricsPort}${path}`);

  test("health and metrics, on a port of their own", async () => {
    expect((await metrics("/healthz")).status).toBe(503);
    await front.state(STATE_FILES.health, '{"status":"pass"}');
    expect((await metrics("/healthz")).status).toBe(503);
    await front.state(STATE_FILES.healthy, "");
    await front.state(STATE_FILES.metrics, "homecloud_localstack_used_bytes 1\n");
    const health = await metrics("/healthz");
    expect(health.status).toBe(200);
    expect(health.headers.get("content-type")).toBe("application/json");
    expect(await health.json()).toEqual({ status: "pass" });
    expect(await (await metrics("/metrics")).text()).toBe("homecloud_localstack_used_bytes 1\n");
    expect((await metrics("/_localstack/health")).status).toBe(404);
  });

  test("each request in one line of JSON without its credentials", async () => {
    const secret = "s3cr3t";
    const asked = withBody(
      `POST /a%20b?X-Amz-Signature=${secret}&X-Amz-Security-Token=${secret}`,
      [
        `Authorization: AWS4-HMAC-SHA256 Credential=${secret}/20261121/us-east-1/sqs/aws4_request, Signature=${secret}`,
        `X-Amz-Security-Token: ${secret}`,
        "X-Amz-Target: AmazonSQS.ReceiveMessage",
        'User-Agent: aws-sdk "x"',
      ],
      secret,
    );
    await sendRaw(front.layout.gatePort, [asked]);
    const line = (await front.accessLog()).at(-1);
    expect(line).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      ...{ client: "127.0.0.1", method: "POST", host: "bucket.s3.localstack.test:4566", path: "/a%20b" },
      ...{ target: "AmazonSQS.ReceiveMessage", service: "sqs", status: 200, refused: "", agent: 'aws-sdk "x"' },
      ...{ received: asked.length, sent: expect.any(Number), seconds: expect.any(Number) },
      id: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    const written = (await readFile(front.layout.accessLog, "utf8")) + (await front.errorLog());
    expect(written).not.toContain(secret);
  });

  test("what was asked of each service", async () => {
    const before = await Promise.all(
      ["2xx", "4xx", "sqs", "s3", "other"].map((name) => front.count(`requests.${name}`)),
    );
    upstream.answer = (response, { url }) => response.writeHead(url === "/missing" ? 404 : 200).end();
    await fetch(`${front.url}/bucket/key`);
    await fetch(`${front.url}/missing`);
    await fetch(front.url, { method: "POST", headers: { "x-amz-target": "AmazonSQS.GetQueueUrl" } });
    await fetch(`${front.url}/_localstack/health`);
    await sleep(50);
    const after = await Promise.all(
      ["2xx", "4xx", "sqs", "s3", "other"].map((name) => front.count(`requests.${name}`)),
    );
    expect(after.map((count, at) => count - (before[at] ?? 0))).toEqual([3, 1, 1, 2, 1]);
  });

  test("nothing to complain of in its own log", async () => {
    const lines = (await front.errorLog()).split("\n").filter((line) => /\[(warn|crit|alert|emerg)\]/.test(line));
    expect(lines).toEqual([]);
  });
});

describe("nginx -t accepts every configuration that can be rendered", () => {
  const home = {
    tls: false,
    trustedProxies: ["10.42.0.0/16", "fd00::/8"],
    allowedRanges: ["192.168.0.0/16", "fd00::/8"],
  };
  test.each(
    Object.entries({
      "behind an ingress": home,
      "with a public certificate": { ...home, hsts: true },
      "on a node port, with TLS": { ...home, tls: true, trustedProxies: [] },
      "on loopback": { ...home, trustedProxies: [], allowedRanges: ["127.0.0.0/8"] },
      "with a range named twice, and none": {
        ...home,
        allowedRanges: ["10.0.0.0/8", "10.0.0.0/8"],
        trustedProxies: [],
      },
      "for everybody": { ...home, allowedRanges: ["0.0.0.0/0", "::/0"] },
    }),
  )("%s", async (_, options) => {
    const folder = await mkdtemp(join(tmpdir(), "homecloud-nginx-"));
    const tools = await testTools();
    const certificate = await selfSigned(folder);
    const other = await startFront({ ...options, ...(options.tls ? { certificate } : {}) });
    try {
      for (const name of ["gate", "uploads"]) {
        const args = ["-t", "-e", "stderr", "-p", folder, "-c", join(other.layout.config, `${name}.conf`)];
        const { all, exitCode } = await execa(tools.bin("nginx"), args, { all: true, reject: false });
        expect(exitCode, all).toBe(0);
        expect(all, "a warning is a mistake too").not.toMatch(/\[warn\]/);
      }
    } finally {
      await other.stop();
    }
    expect(renderLocalStackGate(other.layout, options)).not.toMatch(/undefined|\[object/);
    expect(renderUploads(other.layout)).not.toMatch(/undefined|\[object/);
  });

  test("with TLS of its own it serves HTTPS, and sends plain HTTP there", async () => {
    const folder = await mkdtemp(join(tmpdir(), "homecloud-nginx-"));
    const secure = await startFront({ tls: true, hsts: true, certificate: await selfSigned(folder) });
    const behind = await Recorder.start(secure.layout.localstackPort);
    try {
      const port = secure.layout.gatePort;
      const { stdout } = await execa("curl", ["-sSk", "-D", "-", `https://127.0.0.1:${port}/bucket/key`]);
      expect(stdout).toMatch(/^HTTP\/1\.1 200/);
      expect(stdout).toContain("Strict-Transport-Security: max-age=31536000");
      expect(behind.last.headers).toContainEqual(["X-Forwarded-Proto", "https"]);
      const plain = await fetch(`http://127.0.0.1:${port}/bucket/key?a`, { redirect: "manual" });
      expect(plain.status).toBe(308);
      expect(plain.headers.get("location")).toBe(`https://127.0.0.1:${port}/bucket/key?a`);
    } finally {
      await behind.stop();
      await secure.stop();
    }
  });

  async function selfSigned(folder: string) {
    const [key, certificate] = [join(folder, "tls.key"), join(folder, "tls.crt")];
    const args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localstack"];
    await execa((await testTools()).bin("openssl"), [...args, "-keyout", key, "-out", certificate]);
    return { certificate: await readFile(certificate, "utf8"), privateKey: await readFile(key, "utf8") };
  }
});

test("both processes end in peace when they are asked to", async () => {
  for (const signal of ["SIGTERM", "SIGQUIT"] as const) {
    const other = await startFront();
    expect(await other.end("relay", signal), `relay, ${signal}`).toBe(0);
    expect(await other.end("gate", signal), `gate, ${signal}`).toBe(0);
    await other.stop();
  }
});

const client = (endpoint: string) => ({
  endpoint,
  region: "us-east-1",
  credentials: { accessKeyId: "test", secretAccessKey: "test" },
});

interface SdkError extends Error {
  $metadata: { httpStatusCode?: number; attempts?: number };
}

const errorOf = (sent: Promise<unknown>): Promise<SdkError> =>
  sent.then(
    () => {
      throw new Error("was answered");
    },
    (error) => error,
  );

function send(method: string, path: string, headers: Record<string, string> = {}): ClientRequest {
  const asked = request(`${front.url}${path}`, { method, headers });
  asked.on("error", () => undefined);
  return asked;
}

const answerOf = (asked: ClientRequest): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => void asked.on("response", resolve).on("error", reject));
