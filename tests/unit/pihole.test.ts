import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import * as pulumi from "@pulumi/pulumi";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { dnsRecords } from "../../components/dns-records.ts";
import { withPihole } from "../../components/pihole/client.ts";
import { type HostsRecord, removeRecord, setRecord } from "../../components/pihole/hosts.ts";
import { PiholeRecords } from "../../components/pihole-records.ts";
import { type FakePihole, type FakePiholeOptions, startPihole } from "./pihole-server.ts";

const record: HostsRecord = { name: "registry.homelab.local", address: "192.168.1.40" };
const line = "192.168.1.40 registry.homelab.local";
const others = [
  "192.168.1.9 nas.homelab.local",
  "192.168.1.9 files.homelab.local media.homelab.local",
  "192.168.1.9 printer # by hand",
];

function set(pihole: FakePihole, wanted = record, password = "right"): Promise<string> {
  return withPihole({ url: pihole.url, password }, (session) => setRecord(session, wanted));
}

function remove(pihole: FakePihole, wanted = record): Promise<string> {
  return withPihole({ url: pihole.url, password: "right" }, (session) => removeRecord(session, wanted));
}

/** The script as @pulumi/command runs it. */
function run(action: string, url: string, variables: Record<string, string> = {}) {
  const environment = {
    PIHOLE_URL: url,
    PIHOLE_PASSWORD: "right",
    RECORD_NAME: record.name,
    RECORD_ADDRESS: record.address,
    ...variables,
  };
  return execa(process.execPath, ["components/pihole/record.ts", action], { env: environment, reject: false });
}

/** An address where nothing listens. */
async function unused(): Promise<string> {
  await using pihole = await startPihole();
  return pihole.url;
}

describe("set", () => {
  test("adds the record and leaves those of other people alone", async () => {
    await using pihole = await startPihole({ hosts: others });
    expect(await set(pihole)).toBe("registry.homelab.local stands for 192.168.1.40 now.");
    expect(pihole.hosts).toEqual([...others, line]);
  });

  test("a second run changes nothing", async () => {
    await using pihole = await startPihole({ hosts: others });
    await set(pihole);
    pihole.seen.length = 0;
    expect(await set(pihole)).toContain("already");
    expect(pihole.hosts).toEqual([...others, line]);
    expect(pihole.seen.map(({ method }) => method)).not.toContain("PUT");
  });

  test("replaces the old address, whatever its spelling, and adds the new one first", async () => {
    const old = ["192.168.1.30 registry.homelab.local", "\t192.168.1.31 \t Registry.Homelab.Local"];
    await using pihole = await startPihole({ hosts: [...old, ...others] });
    expect(await set(pihole)).toContain("no longer for 192.168.1.30, 192.168.1.31");
    expect(pihole.hosts).toEqual([...others, line]);
    const writes = pihole.seen.filter(({ path }) => path.includes("dns/hosts/")).map(({ method }) => method);
    expect(writes).toEqual(["PUT", "DELETE", "DELETE"]);
  });

  test("leaves a line with more names alone and says that it contradicts", async () => {
    const shared = "192.168.1.9 registry.homelab.local nas.homelab.local";
    await using pihole = await startPihole({ hosts: [shared] });
    expect(await set(pihole)).toContain(`Warning: Pi-hole's line "${shared}"`);
    expect(pihole.hosts).toEqual([shared, line]);
  });

  test("a record that somebody adds meanwhile is no error", async () => {
    let raced = false;
    await using pihole = await startPihole({
      beforeWrite: (hosts) => {
        if (!raced) hosts.push(line);
        raced = true;
      },
    });
    await set(pihole);
    expect(pihole.hosts).toEqual([line]);
  });

  test("fails when another program keeps setting the name", async () => {
    await using pihole = await startPihole({
      beforeWrite: (hosts) => void hosts.push("192.168.1.50 registry.homelab.local"),
    });
    await expect(set(pihole)).rejects.toThrow(/does another program set it too/);
  });

  test("takes IPv6 addresses", async () => {
    await using pihole = await startPihole();
    await set(pihole, { name: record.name, address: "fd00::40" });
    expect(pihole.hosts).toEqual(["fd00::40 registry.homelab.local"]);
  });
});

describe("remove", () => {
  test("takes the record out, and is no error where it is gone", async () => {
    await using pihole = await startPihole({ hosts: [...others, line] });
    expect(await remove(pihole)).toBe("registry.homelab.local is no longer in Pi-hole.");
    expect(await remove(pihole)).toBe("registry.homelab.local was no longer in Pi-hole.");
    expect(pihole.hosts).toEqual(others);
  });

  test("leaves the same name at another address: it was set by somebody else, or by a later run", async () => {
    const newer = "192.168.1.41 registry.homelab.local";
    await using pihole = await startPihole({ hosts: [newer] });
    await remove(pihole);
    expect(pihole.hosts).toEqual([newer]);
  });
});

describe("sessions", () => {
  test("are given back after success and after failure", async () => {
    await using pihole = await startPihole({ fixedByEnvironment: true });
    await expect(set(pihole)).rejects.toThrow();
    await remove(pihole);
    expect(pihole.logins).toBe(2);
    expect(pihole.sessions.size).toBe(0);
  });

  test("are not needed where Pi-hole has no password", async () => {
    await using pihole = await startPihole({ password: "" });
    await set(pihole);
    expect(pihole.hosts).toEqual([line]);
  });

  test("a login that is refused for its rate is tried again", async () => {
    await using pihole = await startPihole({ rateLimitedLogins: 1 });
    await set(pihole);
    expect(pihole.hosts).toEqual([line]);
  });
});

describe("what is wrong is said in words for a person", () => {
  const cases: [string, FakePiholeOptions, string, RegExp][] = [
    ["wrong password", {}, "wrong", /refused the password\.$/],
    ["no seat left", { seats: 0 }, "right", /API seats are taken.*max_sessions/],
    ["an app password that may only read", { appPassword: "app" }, "app", /app password only read.*app_sudo/],
    ["a second factor", { twoFactor: true }, "right", /second factor.*make an app password/],
    ["records fixed by the container", { fixedByEnvironment: true }, "right", /FTLCONF_dns_hosts/],
    ["too many failed logins", { rateLimitedLogins: 9 }, "right", /too many of them failed/],
  ];
  test.each(cases)("%s", async (_, options, password, message) => {
    await using pihole = await startPihole(options);
    await expect(set(pihole, record, password)).rejects.toThrow(message);
    expect(pihole.hosts).toEqual([]);
    expect(pihole.sessions.size).toBe(0);
  });

  test("an app password with app_sudo may write", async () => {
    await using pihole = await startPihole({ appPassword: "app", appSudo: true });
    await set(pihole, record, "app");
    expect(pihole.hosts).toEqual([line]);
  });

  test("Pi-hole's own words, where none of ours fit", async () => {
    await using pihole = await startPihole();
    await expect(set(pihole, { name: "registry", address: "nonsense" })).rejects.toThrow(
      /answered 400: Invalid value \(dns\.hosts\[0\]: neither a valid IPv4/,
    );
  });

  const loggedIn = JSON.stringify({ session: { valid: true, sid: "sid" } });
  const ended = JSON.stringify({ error: { key: "unauthorized", message: "Unauthorized", hint: null } });
  const strangers: [string, Record<string, [number, string]>, RegExp][] = [
    ["a web page", { "/api/auth": [200, "<html></html>"] }, /does not speak Pi-hole 6's API/],
    ["Pi-hole 5, which has no such path", { "/api/auth": [404, "<html></html>"] }, /does not speak Pi-hole 6's API/],
    ["a redirect", { "/api/auth": [308, ""] }, /redirects to https:\/\/pi\.hole\/: give that address/],
    ["a failure without words", { "/api/auth": [502, ""] }, /answered 502 without saying why/],
    [
      "a session that ends",
      { "/api/auth": [200, loggedIn], "/api/config/dns/hosts": [401, ended] },
      /ended the session/,
    ],
    ["a list that is none", { "/api/auth": [200, loggedIn], "/api/config/dns/hosts": [200, "{}"] }, /does not speak/],
  ];
  test.each(strangers)("%s", async (_, answers, message) => {
    const server = createServer((request, response) => {
      const [status, body] = answers[request.url ?? ""] ?? [404, ""];
      response.writeHead(status, status === 308 ? { Location: "https://pi.hole/" } : {}).end(body);
    });
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    const login = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, password: "right" };
    await expect(withPihole(login, (pihole) => pihole.hosts())).rejects.toThrow(message);
    server.closeAllConnections();
    server.close();
  });

  test("nobody there, no such name, no address at all", async () => {
    const hosts = (url: string) => withPihole({ url, password: "right" }, (pihole) => pihole.hosts());
    await expect(hosts(await unused())).rejects.toThrow(/refuses connections/);
    await expect(hosts("http://pihole.invalid")).rejects.toThrow(/does not resolve/);
    await expect(hosts("192.168.1.2")).rejects.toThrow(/no web address/);
  });

  test("the address of the web page works too", async () => {
    await using pihole = await startPihole();
    const login = { url: `${pihole.url}/admin/`, password: "right" };
    expect(await withPihole(login, (session) => session.hosts())).toEqual([]);
  });
});

describe("the script", { timeout: 15_000 }, () => {
  test("sets and removes", async () => {
    await using pihole = await startPihole({ hosts: others });
    const setting = await run("set", pihole.url);
    expect([setting.exitCode, setting.stdout, setting.stderr]).toEqual([
      0,
      "registry.homelab.local stands for 192.168.1.40 now.",
      "",
    ]);
    expect(pihole.hosts).toEqual([...others, line]);
    expect((await run("remove", pihole.url)).exitCode).toBe(0);
    expect(pihole.hosts).toEqual(others);
    expect(pihole.sessions.size).toBe(0);
  });

  test("says what is wrong on one line, without the password, and exits with 1", async () => {
    await using pihole = await startPihole();
    const { exitCode, stdout, stderr } = await run("set", pihole.url, { PIHOLE_PASSWORD: "s3cret-but-wrong" });
    expect([exitCode, stdout]).toEqual([1, ""]);
    expect(stderr).toBe(`Pi-hole at ${pihole.url} refused the password.`);
    expect(pihole.seen.map(({ path }) => path).join()).not.toContain("s3cret");
  });

  test("a removal that Pi-hole does not answer says the way on, and takes it when told", async () => {
    const nobody = await unused();
    const refused = await run("remove", nobody);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toMatch(/refuses connections.*stays in Pi-hole.*HOMECLOUD_LEAVE_DNS=1 pulumi destroy/);
    expect(refused.stderr).not.toMatch(/\n/);

    const given = await run("remove", nobody, { HOMECLOUD_LEAVE_DNS: "1" });
    expect([given.exitCode, given.stderr]).toEqual([0, ""]);
    expect(given.stdout).toContain(`"${line}" stays in Pi-hole. Take it out by hand.`);
  });

  test("giving up removals does not hide a failed set", async () => {
    const { exitCode } = await run("set", await unused(), { HOMECLOUD_LEAVE_DNS: "1" });
    expect(exitCode).toBe(1);
  });

  test("gives the session back when it is interrupted", { timeout: 20_000 }, async () => {
    await using pihole = await startPihole({ hangsAt: "/config" });
    const running = run("set", pihole.url);
    await expect.poll(() => pihole.seen.length, { timeout: 10_000 }).toBe(2);
    running.kill("SIGINT");
    const { exitCode, stderr } = await running;
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("interrupted")]);
    expect(pihole.sessions.size).toBe(0);
  });

  test("waits ten seconds for an answer and no longer", { timeout: 30_000 }, async () => {
    await using pihole = await startPihole({ hangsAt: "/config" });
    const { exitCode, stderr } = await run("set", pihole.url);
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("did not answer within 10 seconds")]);
    expect(pihole.sessions.size).toBe(0);
  });
});

describe("the component", () => {
  test("updates in place, keeps the password secret and writes one record after the other", async () => {
    const created: pulumi.runtime.MockResourceArgs[] = [];
    await pulumi.runtime.setMocks({
      call: () => ({}),
      newResource: (args) => {
        created.push(args);
        return { id: args.name, state: args.inputs };
      },
    });
    new PiholeRecords("pihole", {
      url: "http://192.168.1.2",
      password: "right",
      records: dnsRecords(["registry.homelab.local", "localstack.homelab.local"], "192.168.1.40"),
    });
    await pulumi.runtime.disconnect();

    const commands = created.filter(({ type }) => type === "command:local:Command");
    expect(commands.map(({ name }) => name)).toEqual([
      "pihole-registry.homelab.local",
      "pihole-localstack.homelab.local",
    ]);
    for (const { inputs } of commands) {
      expect(inputs.triggers).toBeUndefined();
      expect(inputs.environment).toEqual({
        "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
        value: expect.objectContaining({ PIHOLE_PASSWORD: "right" }),
      });
    }
  });
});
