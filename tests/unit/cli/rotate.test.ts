import { beforeAll, describe, expect, test } from "vitest";
import { checkCa, checkNodes, checkPassword, checkPullSecrets, type TryLogin } from "../../../cli/rotate/check.ts";
import { planOf, renderPlan } from "../../../cli/rotate/plan.ts";
import { type Facts, loginFor, pullersIn } from "../../../cli/rotate/read.ts";
import { checksumOfCa } from "../../../components/ca-checksum.ts";
import { makeCaCertificate, makeCertificate, makeKey } from "../../../render/certificates.ts";

const FACTS: Facts = {
  ...{ stack: "homelab", namespace: "registry", url: "https://registry.homelab.local", host: "registry.homelab.local" },
  user: "homelab",
  pullers: [
    { name: "puller-3", generation: 3 },
    { name: "puller-2", generation: 2 },
  ],
  ...{ ca: undefined, caGeneration: 2 },
  pullSecrets: [{ namespace: "apps", login: { user: "puller-3", password: "pull" } }],
  ...{ caCopies: [], certificates: [] },
  nodes: { provenAt: { "k3s-1": "2026-11-21T10:00:00Z" }, user: "puller-3", ca: undefined },
};

const letsIn: TryLogin = async () => "let in";
const commands = (what: Parameters<typeof planOf>[0], facts: Facts) => planOf(what, facts).steps.map(({ run }) => run);

describe("what stands in the cluster", () => {
  test("pull-only users, the newest first, by number and not by letters; who pushes is none of them", () => {
    const htpasswd = "me-1:x\npuller-9:x\npuller-10:x\n";
    expect(pullersIn(htpasswd, "me-1").map(({ name }) => name)).toEqual(["puller-10", "puller-9"]);
  });

  test("a login of Docker's form, for this host only", () => {
    const config = JSON.stringify({ auths: { "a.lan": { username: "puller-1", password: "x" } } });
    expect(loginFor("a.lan", config)).toEqual({ user: "puller-1", password: "x" });
    expect(loginFor("b.lan", config)).toBeUndefined();
    expect(loginFor("b.lan", "{")).toBeUndefined();
  });
});

describe("what is to be typed", () => {
  test("names this deployment's stack and the next generation", () => {
    expect(commands("puller", FACTS)).toEqual([
      "pulumi stack select homelab",
      "pulumi config set --path registry.pullUserGeneration 4",
      "pulumi preview",
      "pulumi up",
      "homecloud rotate check",
      "pulumi config set --path registry.keepFormerPullUser false && pulumi up",
    ]);
    expect(commands("ca", FACTS)).toContain("pulumi config set --path tls.generation 3");
    expect(renderPlan(planOf("puller", FACTS))).toContain("nodes (k3s-1)");
  });

  test("a password never stands on a command line", () => {
    expect(commands("password", FACTS)).toContain("pulumi config set --secret registryPassword");
  });

  test("who is out at once is named", () => {
    expect(planOf("puller", FACTS).effects.join("\n")).toContain("puller-2 is out at once");
    expect(planOf("ca", FACTS).effects.join("\n")).toContain("Who trusts only generation 1 is out at once");
    expect(planOf("ca", { ...FACTS, caGeneration: 1 }).effects.join("\n")).not.toContain("is out at once");
  });

  test("where the former user was taken away, both are wanted again before the raise: the program asks for that", () => {
    const pullers = [{ name: "puller-3", generation: 3 }];
    expect(commands("puller", { ...FACTS, pullers })[1]).toBe(
      "pulumi config set --path registry.keepFormerPullUser true",
    );
    const first = [{ name: "puller-1", generation: 1 }];
    expect(commands("puller", { ...FACTS, pullers: first }).join()).not.toContain("keepFormerPullUser true");
  });

  test("a public CA's certificate is not the stack's to change", () => {
    expect(() => planOf("ca", { ...FACTS, caGeneration: undefined })).toThrow(/who issues it renews it/);
  });
});

describe("what has not followed", () => {
  test("the login, with what the registry said; a former password that is still good", async () => {
    const limited: TryLogin = async () => ({ problem: "too many failed logins" });
    const given = { user: "homelab", password: "new", former: undefined };
    expect((await checkPassword(given, limited))[0]).toMatchObject({ ok: false, found: "too many failed logins" });
    expect((await checkPassword({ ...given, former: "old" }, letsIn))[1]).toMatchObject({
      ok: false,
      found: "still let in",
    });
  });

  test("a pull secret without a login, with a former user, or with a password that is worth nothing", async () => {
    const pullSecrets = [
      { namespace: "none", login: undefined },
      { namespace: "old", login: { user: "puller-2", password: "old" } },
      { namespace: "changed", login: { user: "puller-3", password: "wrong" } },
      { namespace: "good", login: { user: "puller-3", password: "pull" } },
    ];
    const tryLogin: TryLogin = async ({ password }) => (password === "pull" ? "let in" : "refused");
    const findings = await checkPullSecrets({ ...FACTS, pullSecrets }, tryLogin);
    expect(findings.map(({ ok }) => ok)).toEqual([false, false, false, true, undefined]);
    expect(findings.at(-1)).toMatchObject({ what: "former user puller-2", found: "still let in" });
  });

  test("each login is tried once, however many namespaces have it: failed ones are counted", async () => {
    let tried = 0;
    const tryLogin: TryLogin = async () => {
      tried++;
      return "refused";
    };
    const login = { user: "puller-3", password: "pull" };
    const pullSecrets = ["a", "b", "c"].map((namespace) => ({ namespace, login }));
    await checkPullSecrets({ ...FACTS, pullSecrets }, tryLogin);
    expect(tried).toBe(1);
  });

  test("a node that was never proven, or told of a former user", () => {
    const nodes = { provenAt: { a: "never", b: "2026-11-21T10:00:00Z" }, user: "puller-2", ca: undefined };
    expect(checkNodes({ ...FACTS, nodes }).map(({ found }) => found)).toEqual([
      "never proven to pull",
      "pulls as puller-2, the newest is puller-3",
    ]);
    expect(checkNodes(FACTS)).toMatchObject([{ ok: true, found: "pulls as puller-3, proven 2026-11-21T10:00:00Z" }]);
    const unknown = { ...nodes, provenAt: { b: "2026-11-21T10:00:00Z" }, user: undefined };
    expect(checkNodes({ ...FACTS, nodes: unknown })).toMatchObject([{ ok: undefined }]);
  });
});

describe("certificates", () => {
  const NOW = new Date();
  let [former, current]: string[] = [];
  let served = "";

  beforeAll(async () => {
    const keyPem = await makeKey();
    const names = { dnsNames: ["registry.homelab.local"], ipAddresses: [] };
    former = await makeCaCertificate({ ...names, commonName: "CA", keyPem: await makeKey(), validityHours: 9000 });
    current = await makeCaCertificate({ ...names, commonName: "CA", keyPem, validityHours: 9000 });
    served = await makeCertificate(
      { ...names, commonName: "registry.homelab.local", keyPem: await makeKey(), validityHours: 24 * 30 },
      { keyPem, certPem: current },
    );
  });

  const check = (ca: string | undefined, now = NOW) =>
    checkCa(
      {
        ...FACTS,
        ca,
        caCopies: [{ where: "apps", pem: current ?? "" }],
        certificates: [{ workload: "registry", pem: served }],
      },
      now,
    );

  test("are good where everybody has the CA that issued them, whatever white space is around it", () => {
    expect(check(`${current}\n`).map(({ ok }) => ok)).toEqual([true, true, true]);
  });

  test("of another CA of the same name are told apart, as after a destroy", () => {
    expect(check(former).map(({ ok }) => ok)).toEqual([true, false, false]);
  });

  test("that end within two weeks, or have ended, are told", () => {
    const in20Days = new Date(NOW.getTime() + 20 * 86_400_000);
    expect(check(current, in20Days).at(-1)).toMatchObject({
      ok: false,
      found: expect.stringMatching(/in 9 days$|in 10 days$/),
    });
    const in40Days = new Date(NOW.getTime() + 40 * 86_400_000);
    expect(check(undefined, in40Days).at(-1)).toMatchObject({ ok: false, found: expect.stringMatching(/^ended /) });
  });

  test("a node is known by the CA that it was given", () => {
    const nodes = { provenAt: { a: "2026-11-21T10:00:00Z" }, user: "puller-3", ca: checksumOfCa(former ?? "") };
    expect(checkNodes({ ...FACTS, ca: current, nodes })).toMatchObject([{ ok: false, found: "trusts a former CA" }]);
    expect(checkNodes({ ...FACTS, ca: `${former}\n`, nodes })).toMatchObject([{ ok: true }]);
  });
});
