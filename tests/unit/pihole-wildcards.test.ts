import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { withPihole } from "../../components/pihole/client.ts";
import type { HostsRecord } from "../../components/pihole/hosts.ts";
import { removeWildcard, setWildcard } from "../../components/pihole/wildcards.ts";
import { type FakePihole, type FakePiholeOptions, startPihole } from "./pihole-server.ts";

const record: HostsRecord = { name: "*.s3.localstack.homelab.local", address: "192.168.1.40" };
const lines = ["address=/s3.localstack.homelab.local/192.168.1.40", "local=/s3.localstack.homelab.local/"];
const others = [
  "address=/apps.homelab.local/192.168.1.9",
  "local=/apps.homelab.local/",
  "address=/localstack.homelab.local/192.168.1.9",
  "address=/bucket.s3.localstack.homelab.local/192.168.1.9",
  "log-dhcp",
];

interface Login {
  password?: string;
  restartLimitMs?: number;
}

function set(pihole: FakePihole, wanted = record, login: Login = {}): Promise<string> {
  return withPihole({ url: pihole.url, password: "right", ...login }, (session) => setWildcard(session, wanted));
}

function remove(pihole: FakePihole, wanted = record): Promise<string> {
  return withPihole({ url: pihole.url, password: "right" }, (session) => removeWildcard(session, wanted));
}

describe.concurrent("set", () => {
  test("adds the wildcard's lines in one restart and leaves those of other people alone", async () => {
    await using pihole = await startPihole({ dnsmasqLines: others });
    expect(await set(pihole)).toBe("*.s3.localstack.homelab.local stands for 192.168.1.40 now.");
    expect(pihole.dnsmasqLines).toEqual([...others, ...lines]);
    expect(pihole.restarts).toBe(1);
    expect(pihole.hosts).toEqual([]);
  });

  test("a second run changes nothing and restarts nothing", async () => {
    await using pihole = await startPihole({ dnsmasqLines: [lines[1] ?? "", ...others, lines[0] ?? ""] });
    const before = [...pihole.dnsmasqLines];
    expect(await set(pihole)).toBe("*.s3.localstack.homelab.local stands for 192.168.1.40 already.");
    expect(pihole.dnsmasqLines).toEqual(before);
    expect([pihole.restarts, pihole.seen.filter(({ method }) => method === "PATCH")]).toEqual([0, []]);
  });

  test("replaces older addresses, whatever their spelling, in one restart", async () => {
    const old = [
      "address=/s3.localstack.homelab.local/192.168.1.30",
      " address = /S3.LocalStack.homelab.local/fd00::30",
      "local=/s3.localstack.homelab.local/",
    ];
    await using pihole = await startPihole({ dnsmasqLines: [...old, ...others] });
    expect(await set(pihole)).toContain("no longer for 192.168.1.30, fd00::30.");
    expect(pihole.dnsmasqLines).toEqual([...others, ...lines]);
    expect(pihole.restarts).toBe(1);
  });

  test("adds the line that is missing of two", async () => {
    await using pihole = await startPihole({ dnsmasqLines: lines.slice(0, 1) });
    await set(pihole);
    expect(pihole.dnsmasqLines).toEqual(lines);
  });

  test("leaves lines of people with the same name alone and says that they contradict", async () => {
    const contradicting = [
      "address=/nas.lan/S3.localstack.homelab.local/192.168.1.9",
      "address=/s3.localstack.homelab.local/192.168.1.9 # by hand",
      "address=/s3.localstack.homelab.local/#",
      "server=/s3.localstack.homelab.local/192.168.1.1",
    ];
    await using pihole = await startPihole({ dnsmasqLines: contradicting });
    const said = await set(pihole);
    expect(pihole.dnsmasqLines).toEqual([...contradicting, ...lines]);
    expect(said.split("\n").slice(1)).toEqual(
      contradicting.map(
        (line) => `Warning: Pi-hole's dnsmasq line "${line}" names s3.localstack.homelab.local too; it was left alone.`,
      ),
    );
  });

  test("takes IPv6 addresses", async () => {
    await using pihole = await startPihole();
    await set(pihole, { ...record, address: "fd00::40" });
    expect(pihole.dnsmasqLines[0]).toBe("address=/s3.localstack.homelab.local/fd00::40");
  });

  test("says so when another program sets the same list", async () => {
    await using pihole = await startPihole();
    const theirs = setInterval(() => pihole.dnsmasqLines.splice(0), 10);
    await expect(set(pihole)).rejects.toThrow(/does another program set misc\.dnsmasq_lines too/);
    clearInterval(theirs);
  });
});

describe.concurrent("remove", () => {
  test("takes the lines out in one restart, and is no error where they are gone", async () => {
    await using pihole = await startPihole({ dnsmasqLines: [...lines, ...others] });
    expect(await remove(pihole)).toBe("*.s3.localstack.homelab.local is no longer in Pi-hole.");
    expect(await remove(pihole)).toBe("*.s3.localstack.homelab.local was no longer in Pi-hole.");
    expect(pihole.dnsmasqLines).toEqual(others);
    expect(pihole.restarts).toBe(1);
  });

  test("leaves the same name at another address: it was set by somebody else, or by a later run", async () => {
    const newer = ["address=/s3.localstack.homelab.local/192.168.1.41", "local=/s3.localstack.homelab.local/"];
    await using pihole = await startPihole({ dnsmasqLines: newer });
    await remove(pihole);
    expect([pihole.dnsmasqLines, pihole.restarts]).toEqual([newer, 0]);
  });

  test("takes only its own address where there are two", async () => {
    const newer = "address=/s3.localstack.homelab.local/192.168.1.41";
    await using pihole = await startPihole({ dnsmasqLines: [...lines, newer] });
    await remove(pihole);
    expect(pihole.dnsmasqLines).toEqual([lines[1], newer]);
  });

  test("leaves no name without an address behind, which nobody could resolve", async () => {
    await using pihole = await startPihole({ dnsmasqLines: lines.slice(1) });
    await remove(pihole);
    expect(pihole.dnsmasqLines).toEqual([]);
  });
});

describe.concurrent("the restart", () => {
  test("is over when the call returns", async () => {
    await using pihole = await startPihole({ restartMs: 1_500 });
    await set(pihole);
    expect(pihole.restarts).toBe(1);
    expect((await fetch(`${pihole.url}/api/info/login`)).status).toBe(200);
  });

  test("of a Pi-hole that was started just before is noticed too", async () => {
    await using pihole = await startPihole({ restartMs: 0 });
    await set(pihole);
    await set(pihole, { ...record, address: "192.168.1.41" });
    expect(pihole.restarts).toBe(2);
  });

  test("may lose the session: another is made, and given back", async () => {
    await using pihole = await startPihole({ restoresSessions: false });
    await set(pihole);
    expect([pihole.logins, pihole.sessions.size]).toEqual([2, 0]);
  });

  test("needs no session where Pi-hole has no password", async () => {
    await using pihole = await startPihole({ password: "" });
    await set(pihole);
    expect(pihole.dnsmasqLines).toEqual(lines);
  });

  test("that takes too long is an error that says what to do", async () => {
    await using pihole = await startPihole({ restartMs: Infinity });
    await expect(set(pihole, record, { restartLimitMs: 1_000 })).rejects.toThrow(
      /took the setting but was not back after 1 seconds \(.*refuses connections.*run the same command again\.$/,
    );
  });

  test("after which DNS does not run is an error", async () => {
    await using pihole = await startPihole({ dnsStarts: false });
    await expect(set(pihole)).rejects.toThrow(/its DNS could not start.*misc\.dnsmasq_lines/);
  });
});

describe("what is wrong is said in words for a person, and nothing is changed", () => {
  const cases: [string, FakePiholeOptions, Login, RegExp][] = [
    ["an app password that may only read", { appPassword: "app" }, { password: "app" }, /only read.*app_sudo/],
    ["lines fixed by the container", { fixedByEnvironment: true }, {}, /misc\.dnsmasq_lines is.*FTLCONF_misc_dnsmasq_/],
    ["settings that are read-only", { readOnly: true }, {}, /misc\.readOnly/],
    ["a line of somebody's that is wrong", { dnsmasqLines: ["nonsense"] }, {}, /refuses.*bad option.*somebody else's/],
  ];
  test.each(cases)("%s", async (_, options, login, message) => {
    await using pihole = await startPihole(options);
    await expect(set(pihole, record, login)).rejects.toThrow(message);
    expect([pihole.dnsmasqLines, pihole.restarts]).toEqual([options.dnsmasqLines ?? [], 0]);
    expect(pihole.sessions.size).toBe(0);
  });

  test("an app password with app_sudo may write", async () => {
    await using pihole = await startPihole({ appPassword: "app", appSudo: true });
    await set(pihole, record, { password: "app" });
    expect(pihole.dnsmasqLines).toEqual(lines);
  });
});

/** Why the whole list is written: what works for a record of `dns.hosts` cannot find these lines. */
test("an item with a slash, encoded or not, is not found by its path", async () => {
  await using pihole = await startPihole({ password: "", dnsmasqLines: lines });
  const item = `${pihole.url}/api/config/misc/dnsmasq_lines/${encodeURIComponent(lines[0] ?? "")}`;
  expect((await fetch(item, { method: "DELETE" })).status).toBe(404);
  expect(pihole.dnsmasqLines).toEqual(lines);
});

describe("the script", { timeout: 30_000 }, () => {
  function run(action: string, url: string, variables: Record<string, string> = {}) {
    const environment = { PIHOLE_URL: url, PIHOLE_PASSWORD: "right", RECORD_NAME: record.name, ...variables };
    return execa(process.execPath, ["components/pihole/record.ts", action], {
      env: { ...environment, RECORD_ADDRESS: record.address },
      reject: false,
    });
  }

  test("sets and removes", async () => {
    await using pihole = await startPihole({ dnsmasqLines: others });
    const setting = await run("set", pihole.url);
    expect([setting.exitCode, setting.stdout, setting.stderr]).toEqual([
      0,
      "*.s3.localstack.homelab.local stands for 192.168.1.40 now.",
      "",
    ]);
    expect(pihole.dnsmasqLines).toEqual([...others, ...lines]);
    expect((await run("remove", pihole.url)).exitCode).toBe(0);
    expect(pihole.dnsmasqLines).toEqual(others);
    expect(pihole.sessions.size).toBe(0);
  });

  test("names the lines that it had to leave", async () => {
    await using pihole = await startPihole({ readOnly: true, dnsmasqLines: lines });
    const { exitCode, stdout } = await run("remove", pihole.url, { HOMECLOUD_LEAVE_DNS: "1" });
    expect([exitCode, stdout]).toEqual([
      0,
      expect.stringContaining(`"${lines.join('", "')}" stays in Pi-hole. Take it out by hand.`),
    ]);
  });

  test("does not wait for the restart when it is interrupted", async () => {
    await using pihole = await startPihole({ restartMs: Infinity });
    const running = run("set", pihole.url);
    await expect.poll(() => pihole.restarts, { timeout: 15_000 }).toBe(1);
    running.kill("SIGINT");
    const { exitCode, stderr } = await running;
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("interrupted")]);
  });
});
