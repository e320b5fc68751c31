import { describe, expect, test } from "vitest";
import { type LocalStackGateOptions, renderLocalStackGate } from "../../components/localstack/gate.ts";
import { POD_LAYOUT, REFUSALS } from "../../components/localstack/layout.ts";
import { MESSAGE, REFUSAL_STATUS, REFUSAL_TEMPLATES } from "../../components/localstack/refusals.ts";
import { FREE_S3_REQUESTS, PASSES_OVER_QUOTA, requestMaps, SERVICES } from "../../components/localstack/requests.ts";
import { renderUploads } from "../../components/localstack/uploads.ts";

const OPTIONS: LocalStackGateOptions = {
  tls: false,
  trustedProxies: ["10.42.0.0/16"],
  allowedRanges: ["192.168.0.0/16"],
};
const gate = (options: Partial<LocalStackGateOptions> = {}) =>
  renderLocalStackGate(POD_LAYOUT, { ...OPTIONS, ...options });
const uploads = renderUploads(POD_LAYOUT);

/** The block of an nginx configuration that begins like this. */
function block(conf: string, start: string): string {
  const from = conf.indexOf(start);
  expect(from, start).toBeGreaterThan(-1);
  let depth = 0;
  for (let at = from; at < conf.length; at++) {
    if (conf[at] === "{") depth++;
    if (conf[at] === "}" && --depth === 0) return conf.slice(from, at + 1);
  }
  throw new Error(`${start} is not closed`);
}

const front = (options: Partial<LocalStackGateOptions> = {}) => block(gate(options), "server {\n  listen 8080");

describe("the gate of LocalStack", () => {
  test("hides no bucket: its only location that a request can reach is the one that passes it on", () => {
    const locations = [...front().matchAll(/^ {2}location (.+) \{$/gm)].map(([, name = ""]) => name);

    expect(locations.filter((name) => !name.startsWith("@"))).toEqual(["/", "^~ /./"]);
    expect(block(front(), "location ^~ /./")).toContain("internal;");
  });

  test("passes bodies of any size both ways as they come, and repeats no request", () => {
    for (const conf of [gate(), uploads]) {
      expect(conf).toContain("client_max_body_size 0;");
      expect(conf).toContain("proxy_request_buffering off;");
      expect(conf).toContain("proxy_buffering off;");
      expect(conf).toContain("proxy_next_upstream off;");
      expect(conf).toContain("merge_slashes off;");
      expect(conf).toContain("underscores_in_headers on;");
      expect(conf).not.toMatch(/proxy_intercept_errors on|gzip on|limit_(req|conn)/);
    }
  });

  test("passes the path as it was sent: no proxy_pass has one of its own", () => {
    for (const conf of [gate(), uploads])
      for (const [, target] of conf.matchAll(/proxy_pass (\S+);/g)) expect(target).toMatch(/^http:\/\/[$\w]+$/);
  });

  test("closes idle connections to LocalStack long before LocalStack does, after a minute", () => {
    for (const [, idle] of gate().matchAll(/^upstream .* keepalive_timeout (\S+);/gm)) expect(idle).toBe("500ms");
  });

  test("waits for the longest function, and for its image", () => {
    expect(gate()).toContain("proxy_read_timeout 1h;");
  });

  test("lets only the ranges in that it is given, each once", () => {
    const ranges = ["192.168.0.0/16", "fd00::/8", "192.168.0.0/16"];
    expect(block(gate({ allowedRanges: ranges }), "geo $is_home")).toBe(
      "geo $is_home {\n  192.168.0.0/16 1;\n  fd00::/8 1;\n}",
    );
    expect(front()).toContain('if ($is_home = "") { return 480; }');
  });

  test("believes no forwarded address unless it knows the ingress", () => {
    expect(gate({ trustedProxies: [] })).not.toContain("real_ip");
    expect(gate({ trustedProxies: ["10.0.0.0/8", "fd00::/8"] })).toContain(
      "set_real_ip_from 10.0.0.0/8;\nset_real_ip_from fd00::/8;",
    );
  });

  test("terminates TLS only where it is told to", () => {
    expect(gate()).not.toMatch(/ssl_/);
    expect(front()).toContain('if ($http_x_forwarded_proto = "http") { return 308 ');
    const tls = front({ tls: true });
    expect(tls).toContain("listen 8080 ssl;");
    expect(tls).toContain("ssl_protocols TLSv1.2 TLSv1.3;");
    expect(tls).toContain("proxy_set_header X-Forwarded-Proto https;");
    expect(tls).not.toMatch(/http2|x_forwarded_proto = /);
  });

  test("tells browsers to stay with HTTPS only where it is asked to", () => {
    expect(gate()).not.toContain("Strict-Transport-Security");
    expect(gate({ hsts: true })).toContain("Strict-Transport-Security");
  });

  test("logs no credential: neither headers that hold one nor the query", () => {
    const format = gate().slice(gate().indexOf("log_format access"), gate().indexOf("log_format tick"));

    expect(format).not.toMatch(/authorization|token|\$request_uri|\$args|\$request"|\$query_string/i);
  });

  test("counts by class and by service", () => {
    for (const name of ["requests.2xx", "requests.4xx", "requests.5xx", "refused"])
      expect(gate()).toContain(`access_log ${POD_LAYOUT.counters}/${name} tick if=`);
    for (const service of SERVICES)
      for (const name of [`requests.${service}`, `errors.${service}`])
        expect(gate()).toContain(`access_log ${POD_LAYOUT.counters}/${name} tick if=`);
  });

  test("asks for the flags before anything is passed on, and sends uploads through the relay that can be cut", () => {
    const passes = block(front(), "location / {");

    for (const flag of ["full", "over"])
      expect(passes).toContain(`if (-f ${POD_LAYOUT.state}/${flag}) { set $no_room 1; }`);
    expect(gate()).toContain("map $s3_upload $backend { default localstack; 1 uploads; }");
    expect(block(front(), "location @away_s3 {")).toContain("set $was_cut $s3_upload;");
    expect(block(front(), "location @away_json {")).not.toContain("was_cut");
  });

  test("shows metrics and health on a port of their own", () => {
    const metrics = block(gate(), "server {\n  listen 9090;");

    expect(metrics).toContain("location = /metrics ");
    expect(metrics).toContain("location = /healthz ");
    expect(front()).not.toMatch(/metrics|healthz/);
  });
});

describe("the relay of uploads", () => {
  test("listens on loopback only, and reads both flags again", () => {
    expect(uploads.match(/listen .*/g)).toEqual(["listen 127.0.0.1:8082;"]);
    for (const flag of ["full", "over"])
      expect(uploads).toContain(`if (-f ${POD_LAYOUT.state}/${flag}) { return 481; }`);
    expect(uploads).toContain("stub_status;");
  });
});

describe("every nginx of LocalStack's", () => {
  test.each([
    ["gate", gate({ tls: true, hsts: true })],
    ["uploads", uploads],
  ])("%s stays in the foreground and writes to its own folder only", (name, conf) => {
    expect(conf).toContain("daemon off;");
    expect(conf).toContain(`pid /tmp/${name}.pid;`);
    for (const [, path] of conf.matchAll(/_temp_path (\S+);/g)) expect(path).toMatch(/^\/tmp\//);
    expect(conf).not.toMatch(/undefined|\[object|NaN/);
  });
});

describe("refusals", () => {
  const filled = (form: (typeof REFUSALS)[number]) => REFUSAL_TEMPLATES[form].replace(MESSAGE, "no room");

  test("have a template each with one place for the figures", () => {
    for (const form of REFUSALS) expect(REFUSAL_TEMPLATES[form].split(MESSAGE)).toHaveLength(2);
  });

  test("are in the form of their service", () => {
    expect(filled("s3")).toBe(
      '<?xml version="1.0" encoding="UTF-8"?><Error><Code>QuotaExceeded</Code><Message>no room</Message></Error>',
    );
    expect(JSON.parse(filled("dynamodb"))).toEqual({
      __type: "com.amazonaws.dynamodb.v20120810#ServiceQuotaExceededException",
      message: "no room",
    });
    expect(JSON.parse(filled("sqs"))).toEqual({ __type: "com.amazonaws.sqs#OverLimit", message: "no room" });
    expect(JSON.parse(filled("lambda"))).toEqual({ Type: "User", message: "no room" });
    expect(JSON.parse(filled("json"))).toEqual({ __type: "ServiceQuotaExceededException", message: "no room" });
  });

  test("have a status that no SDK tries again", () => {
    for (const form of REFUSALS) expect(REFUSAL_STATUS[form]).toBe(form === "s3" ? 403 : 400);
  });

  test("are given as they are: no cache, no range, no condition turns them into something else", () => {
    const location = block(front(), "location ^~ /./");

    for (const line of ["etag off;", "if_modified_since off;", "max_ranges 0;"]) expect(location).toContain(line);
    expect(location).toContain("application/x-amz-json-1.0 dynamodb; application/x-amz-json-1.0 sqs;");
  });
});

describe("what passes over the quota", () => {
  test("is written down for each service, with every exception that the gate makes", () => {
    const all = PASSES_OVER_QUOTA.map(({ passes }) => passes).join("\n");

    for (const { what } of FREE_S3_REQUESTS) expect(all).toContain(what);
    for (const service of ["S3", "DynamoDB", "Lambda"])
      expect(PASSES_OVER_QUOTA.some((row) => row.service === service)).toBe(true);
  });
});

describe("operations named in a header", () => {
  /** nginx's map: the first regular expression that matches, else the default. */
  const stores = (operation: string) => {
    for (const [, pattern = "", value] of block(requestMaps(), "map $operation $stores").matchAll(
      /^ {2}"~(.+)" (\d);$/gm,
    ))
      if (new RegExp(pattern).test(operation)) return value === "1";
    return false;
  };

  test.each([
    "PutItem",
    "CreateTable",
    "SendMessage",
    "PublishBatch",
    "ImportTable",
    "RestoreTableFromBackup",
    "UploadPart",
    "StartExecution",
    "ExportTableToPointInTime",
    "CopyBackup",
    "UpdateItem",
    "BatchWriteItem",
    "TransactWriteItems",
    "BatchPutMessage",
  ])("%s needs room", (operation) => expect(stores(operation)).toBe(true));

  test.each([
    "GetItem",
    "DeleteItem",
    "UpdateTable",
    "BatchGetItem",
    "TransactGetItems",
    "ExecuteStatement",
    "ReceiveMessage",
    "TagQueue",
    "PutRetentionPolicy",
    "StartQuery",
    "SendTaskSuccess",
    "Output",
    "",
  ])("%s does not", (operation) => expect(stores(operation)).toBe(false));
});
