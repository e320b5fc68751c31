import { compareSync } from "bcryptjs";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { quote, quoteExactly } from "../../components/nginx.ts";
import { renderDistribution } from "../../components/registry/distribution.ts";
import { dockerConfigJson } from "../../components/registry/docker-config.ts";
import { registryErrorJson } from "../../components/registry/errors.ts";
import {
  collectorEnvironment,
  quotaEnvironment,
  renderFiles,
  renderPublicFiles,
} from "../../components/registry/files.ts";
import { type GateOptions, renderGate } from "../../components/registry/gate.ts";
import { renderHtpasswd } from "../../components/registry/htpasswd.ts";
import { POD_LAYOUT } from "../../components/registry/layout.ts";
import { renderLogin } from "../../components/registry/login.ts";
import { renderWrites } from "../../components/registry/writes.ts";

const OPTIONS: GateOptions = { writer: "homelab", tls: false, trustedProxies: ["10.42.0.0/16"] };
const gate = (options: Partial<GateOptions> = {}) => renderGate(POD_LAYOUT, { ...OPTIONS, ...options });

const WRITER = { is_writer: "1" };
const PULLER = { is_writer: "0" };
/** Flags that the quota container sets. */
const FULL = { full: "1" };
const OVER = { over: "1" };
const MAINTENANCE = { maintenance: "1" };

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

describe("distribution", () => {
  const config = parse(renderDistribution(POD_LAYOUT, { httpSecret: "s3cret" }));

  test("listens on loopback only, metrics included", () => {
    expect(config.http.addr).toBe("127.0.0.1:5000");
    expect(config.http.debug).toEqual({ addr: "127.0.0.1:5001", prometheus: { enabled: true, path: "/metrics" } });
  });

  test("has its own secret, relative URLs and nosniff", () => {
    expect(config.http).toMatchObject({
      secret: "s3cret",
      relativeurls: true,
      headers: { "X-Content-Type-Options": ["nosniff"] },
    });
  });

  test("may delete, forgets abandoned uploads after a day, and caches nothing that a collection deletes", () => {
    expect(config.storage).toEqual({
      filesystem: { rootdirectory: "/var/lib/registry" },
      delete: { enabled: true },
      maintenance: { uploadpurging: { enabled: true, age: "24h", interval: "1h", dryrun: false } },
    });
    expect(config).not.toHaveProperty("redis");
  });

  test("checks no logins: the gate does", () => {
    expect(config).not.toHaveProperty("auth");
  });
});

describe("the gate", () => {
  test("asks for a login before anything is passed on, and never passes the login on", () => {
    const all = block(gate(), "location / {\n    # Every client");

    expect(all).toContain("auth_request /_login;");
    expect(all).toContain('proxy_set_header Authorization "";');
    expect(all).toContain('if ($http_authorization = "") { return 401; }');
  });

  test("remembers a yes for five minutes, by the whole Authorization header, and nothing else", () => {
    const login = block(gate(), "location = /_login");

    expect(login).toContain("internal;");
    expect(login).toContain("proxy_cache_key $http_authorization;");
    expect(login.match(/proxy_cache_valid .*/g)).toEqual(["proxy_cache_valid 204 5m;"]);
    expect(login).toContain("proxy_pass_request_body off;");
  });

  test("limits how often bcrypt is asked: by client and user, by client, and in total", () => {
    const limited = block(gate(), "server {\n  listen unix:/tmp/gate-login.sock;");

    expect(gate()).toContain('limit_req_zone "$http_x_client_address $remote_user" ');
    expect(gate()).toContain("limit_req_zone $http_x_client_address ");
    expect(limited.match(/limit_req zone/g)).toHaveLength(3);
    expect(limited).toContain("proxy_pass http://login;");
    expect(block(gate(), "location = /_login")).toContain("proxy_set_header X-Client-Address $remote_addr;");
  });

  test("keeps logins on its own memory volume", () => {
    expect(gate()).toContain("proxy_cache_path /tmp/logins ");
  });

  test("calls everything a write but GET, HEAD and OPTIONS", () => {
    expect(gate()).toContain("map $request_method $is_write { default 1; GET 0; HEAD 0; OPTIONS 0; }");
  });

  test("compares the writer's name as it is written, whole, dots and case included", () => {
    expect(gate({ writer: "ci.bot" })).toContain(String.raw`'~^ci\\.bot$' 1;`);
    expect(gate()).not.toContain("'~*");
  });

  test("lets everybody read whatever the state", () => {
    for (const method of ["GET", "HEAD", "OPTIONS"])
      for (const user of [PULLER, WRITER])
        expect(backend(gate(), { ...user, method, ...FULL, ...OVER, ...MAINTENANCE })).toBe("registry");
  });

  test("lets nobody write but the writer, whatever the state", () => {
    for (const method of ["POST", "PATCH", "PUT", "DELETE", "PURGE"])
      for (const state of [{}, FULL, MAINTENANCE])
        expect(backend(gate(), { ...PULLER, method, ...state })).toBe("denied");
  });

  test("sends the writer's writes through the relay that can be cut", () => {
    for (const method of ["POST", "PATCH", "PUT", "PURGE", "DELETE"])
      expect(backend(gate(), { ...WRITER, method })).toBe("writes");
  });

  test("begins no upload in the reserve, and lets those under way end", () => {
    expect(backend(gate(), { ...WRITER, method: "POST", ...FULL })).toBe("full");
    expect(backend(gate(), { ...WRITER, method: "PATCH", ...FULL })).toBe("writes");
    expect(backend(gate(), { ...WRITER, method: "PUT", ...FULL })).toBe("writes");
  });

  test("lets only deletes go on at the limit", () => {
    for (const method of ["POST", "PATCH", "PUT"])
      expect(backend(gate(), { ...WRITER, method, ...FULL, ...OVER })).toBe("full");
    expect(backend(gate(), { ...WRITER, method: "DELETE", ...FULL, ...OVER })).toBe("writes");
    expect(renderWrites(POD_LAYOUT)).toContain("map $request_method $takes_room { default 1; DELETE 0; }");
  });

  test("stops every write, deletes too, while garbage is collected", () => {
    for (const method of ["POST", "PATCH", "PUT", "DELETE"])
      expect(backend(gate(), { ...WRITER, method, ...FULL, ...OVER, ...MAINTENANCE })).toBe("maintenance");
  });

  test("lets a layer of any size through, unbuffered", () => {
    expect(gate()).toContain("client_max_body_size 0;");
    expect(gate()).toContain("proxy_request_buffering off;");
    expect(gate()).toContain("proxy_max_temp_file_size 0;");
  });

  test("never repeats a write by itself", () => {
    expect(gate()).toContain("proxy_next_upstream off;");
  });

  test("logs no credential: neither the header nor the query", () => {
    const format = gate().slice(gate().indexOf("log_format access"), gate().indexOf("log_format tick"));

    expect(format).toContain('"path":"$uri"');
    expect(format).not.toMatch(/\$http_authorization|\$request_uri|\$args|\$request"|\$query_string/);
  });

  test("believes no forwarded address unless it knows the ingress", () => {
    expect(gate({ trustedProxies: [] })).not.toContain("real_ip");
    expect(gate({ trustedProxies: ["10.0.0.0/8", "fd00::/8"] })).toContain(
      "set_real_ip_from 10.0.0.0/8;\nset_real_ip_from fd00::/8;",
    );
  });

  test("terminates TLS only where it is told to, and then no old one", () => {
    expect(gate()).not.toMatch(/ssl_/);
    expect(gate()).toContain('if ($http_x_forwarded_proto = "http") { return 308 ');
    const tls = gate({ tls: true });
    expect(tls).toContain("listen 8080 ssl;");
    expect(tls).toContain("ssl_protocols TLSv1.2 TLSv1.3;");
    expect(tls).toContain("ssl_certificate_key /etc/homecloud-certificate/tls.key;");
    expect(tls).toContain("proxy_set_header X-Forwarded-Proto https;");
    expect(tls).not.toContain("http2");
  });

  test("sends security headers with every answer of its own", () => {
    for (const name of ["@login_required", "@login_unchecked", "@too_many", "@unavailable"]) {
      const answer = block(gate(), `location ${name} {`);
      expect(answer).toContain("add_header X-Content-Type-Options nosniff always;");
      expect(answer).toContain("add_header X-Frame-Options DENY always;");
    }
    expect(gate({ hsts: true })).toContain("Strict-Transport-Security");
    expect(gate()).not.toContain("Strict-Transport-Security");
  });

  test("answers in the registry's own form, with the code that clients print", () => {
    expect(block(gate(), "location @login_required {")).toContain('"code":"UNAUTHORIZED"');
    expect(block(gate(), "location @too_many {")).toContain('"code":"TOOMANYREQUESTS"');
    expect(block(gate(), "server {\n  listen unix:/tmp/gate-denied.sock")).toContain(
      'return 403 \'{"errors":[{"code":"DENIED"',
    );
    const maintenance = block(gate(), "server {\n  listen unix:/tmp/gate-maintenance.sock");
    expect(maintenance).toContain("Retry-After 30");
    expect(maintenance).toContain("return 503 ");
  });

  test("shows metrics on a port of their own, and health on both", () => {
    const metrics = block(gate(), "server {\n  listen 9090;");

    expect(metrics).toContain("location = /metrics ");
    expect(metrics).toContain("location = /healthz ");
    expect(block(gate(), "server {\n  listen 8080;")).not.toContain("/metrics");
  });
});

describe("the login check", () => {
  const conf = renderLogin(POD_LAYOUT);

  test("listens on loopback only, and knows nothing but the users", () => {
    expect(conf.match(/listen .*/g)).toEqual(["listen 127.0.0.1:8081;"]);
    expect(conf).toContain("auth_basic_user_file /etc/homecloud-users/htpasswd;");
    expect(conf).not.toContain("proxy_pass");
  });

  test("decides after the login is checked, never before", () => {
    expect(conf.replaceAll(/#.*|\\`.*`/g, "")).not.toMatch(/\breturn\b/);
  });
});

describe("the relay of writes", () => {
  const conf = renderWrites(POD_LAYOUT);

  test("listens on loopback only, takes bodies of any size, unbuffered, and repeats none", () => {
    expect(conf.match(/listen .*/g)).toEqual(["listen 127.0.0.1:8082;"]);
    expect(conf).toContain("client_max_body_size 0;");
    expect(conf).toContain("proxy_request_buffering off;");
    expect(conf).toContain("proxy_next_upstream off;");
    expect(conf).toContain("stub_status;");
  });
});

describe("every nginx", () => {
  test.each([
    ["gate", gate({ tls: true })],
    ["login", renderLogin(POD_LAYOUT)],
    ["writes", renderWrites(POD_LAYOUT)],
  ])("%s stays in the foreground and writes to its own folder only", (name, conf) => {
    expect(conf).toContain("daemon off;");
    expect(conf).toContain(`pid /tmp/${name}.pid;`);
    for (const [, path] of conf.matchAll(/_temp_path (\S+);/g)) expect(path).toMatch(/^\/tmp\//);
    expect(conf.split("{").length).toBe(conf.split("}").length);
    expect(conf).not.toMatch(/undefined|\[object|NaN/);
  });
});

describe("files of the pod", () => {
  test("what holds the HTTP secret is not among the public ones", () => {
    const options = { ...OPTIONS, httpSecret: "s3cret" };

    expect(JSON.stringify(renderPublicFiles(POD_LAYOUT, OPTIONS))).not.toContain("s3cret");
    expect(renderPublicFiles(POD_LAYOUT, OPTIONS)).not.toHaveProperty("config.yml");
    expect(renderFiles(POD_LAYOUT, options)["config.yml"]).toContain("s3cret");
  });

  test("the scripts are what the repository holds, and shell", () => {
    const files = renderPublicFiles(POD_LAYOUT, OPTIONS);

    for (const name of ["measure.sh", "collect-garbage.sh"]) expect(files[name]).toMatch(/^#!\/bin\/sh\n/);
  });

  test("every variable that a script expects is given to it", () => {
    const quota = quotaEnvironment(POD_LAYOUT, {
      limitBytes: 100,
      reserveBytes: 10,
      keepFreeBytes: 20,
      interval: 1,
      remedy: "free it",
    });

    expect(quota).toMatchObject({ LIMIT: "100", RESERVE: "10", KEEP_FREE: "20", INTERVAL: "1", REMEDY: "free it" });
    expect(collectorEnvironment(POD_LAYOUT)).toMatchObject({
      VOLUME: "/var/lib/registry",
      DISTRIBUTION_CONF: "/etc/homecloud/config.yml",
    });
    for (const value of Object.values({ ...quota, ...collectorEnvironment(POD_LAYOUT) })) expect(value).toMatch(/./);
  });
});

describe("small renderers", () => {
  test("a value is quoted as nginx reads it back", () => {
    expect(quote("plain")).toBe("'plain'");
    expect(quote("it's")).toBe(String.raw`'it\'s'`);
    expect(quoteExactly("a.b")).toBe(String.raw`'~^a\\.b$'`);
    expect(() => quote("costs $5")).toThrow("nginx cannot quote a value with '$'");
  });

  test("an error is JSON that clients print", () => {
    const quoted = registryErrorJson("DENIED", "no room");

    expect(JSON.parse(quoted.slice(1, -1))).toEqual({ errors: [{ code: "DENIED", message: "no room" }] });
  });

  test("Docker's config has the login in both forms", () => {
    expect(JSON.parse(dockerConfigJson("a.lab:443", "me", 'p"w:1'))).toEqual({
      auths: {
        "a.lab:443": { username: "me", password: 'p"w:1', auth: Buffer.from('me:p"w:1').toString("base64") },
      },
    });
  });

  test("htpasswd verifies, depends on its salt, and is the same from run to run", () => {
    const user = (fill: number) => ({ name: "me", password: "pä$s", salt: Buffer.alloc(16, fill).toString("base64") });
    const [one, again, other] = [renderHtpasswd([user(1)]), renderHtpasswd([user(1)]), renderHtpasswd([user(2)])];

    expect(one).toMatch(/^me:\$2y\$12\$[./A-Za-z0-9]{53}\n$/);
    expect(again).toBe(one);
    expect(other).not.toBe(one);
    expect(compareSync("pä$s", one.trim().slice("me:".length).replace("$2y$", "$2b$"))).toBe(true);
    expect(compareSync("pass", one.trim().slice("me:".length).replace("$2y$", "$2b$"))).toBe(false);
  });

  test("a salt of the wrong length is refused", () => {
    expect(() => renderHtpasswd([{ name: "me", password: "x", salt: "c2hvcnQ=" }])).toThrow(
      "a bcrypt salt has 16 bytes",
    );
  });
});

/** What nginx's map would choose for this request: the first regular expression that matches, else the default. */
function backend(conf: string, request: Record<string, string>): string | undefined {
  const [, template = ""] = /^map "([^"]+)" \$backend \{$/m.exec(conf) ?? [];
  const map = block(conf, `map "${template}" $backend`);
  const isWrite = ["GET", "HEAD", "OPTIONS"].includes(request.method ?? "") ? "0" : "1";
  const variables: Record<string, string> = {
    ...{ is_write: isWrite, request_method: request.method ?? "", maintenance: "0", over: "0", full: "0" },
    ...request,
  };
  const key = template.replaceAll(/\$(\w+)/g, (_, name: string) => variables[name] ?? `unknown variable ${name}`);
  expect(key).not.toContain("unknown variable");
  for (const [, pattern = "", name] of map.matchAll(/^ {2}"~(.+)" (\w+);$/gm)) {
    if (new RegExp(pattern).test(key)) return name;
  }
  return /default (\w+);/.exec(map)?.[1];
}
