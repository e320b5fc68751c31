import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { connect, getCACertificates } from "node:tls";
import { checksumOfCa } from "../../components/ca-checksum.ts";
import { isProven } from "../cluster/nodes.ts";
import type { Context } from "../context.ts";
import { RegistryError } from "../registry/client.ts";
import type { Facts, PullSecret } from "./read.ts";

/** One thing that must have followed a rotation. */
export interface Finding {
  what: string;
  /** Undefined where it cannot be told from here, or is nobody's concern. */
  ok: boolean | undefined;
  found: string;
  /** What brings it in order. */
  toDo?: string;
}

/** Whether the registry lets a user in; a reason where it does not. */
export type TryLogin = (login: {
  user: string;
  password: string;
}) => Promise<"let in" | "refused" | { problem: string }>;

const UP = "pulumi up";
const AGAIN = `once the registry's pod is ready (homecloud status) check again; else ${UP}`;

/** A login at the registry's address, or through the cluster's API where this machine does not reach that. */
export const loginThrough =
  (context: Context): TryLogin =>
  async (login) => {
    try {
      const registry = await context.registry(login);
      await (await registry.ask("GET", "/v2/", {})).body.dump();
      return "let in";
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
      return error.status === 401 ? "refused" : { problem: error.message };
    }
  };

/** The login of the user who pushes, and that an earlier password of theirs is worth nothing. */
export async function checkPassword(
  { user, password, former }: { user: string; password: string; former: string | undefined },
  tryLogin: TryLogin,
): Promise<Finding[]> {
  const what = `login of ${user}`;
  const answer = await tryLogin({ user, password });
  const findings: Finding[] = [
    answer === "let in" ? { what, ok: true, found: "let in" } : { what, ok: false, ...refused(answer), toDo: AGAIN },
  ];
  if (former === undefined) return findings;
  const before = `former password of ${user}`;
  if (former === password) {
    return [
      ...findings,
      {
        what: before,
        ok: false,
        found: "it is the one that there is now",
        toDo: `${UP} after pulumi config set --secret registryPassword`,
      },
    ];
  }
  const old = await tryLogin({ user, password: former });
  const toDo = "the registry's pod has not been made anew: kubectl rollout restart its deployment";
  return [
    ...findings,
    old === "refused"
      ? { what: before, ok: true, found: "refused" }
      : { what: before, ok: false, found: old === "let in" ? "still let in" : old.problem, toDo },
  ];
}

const refused = (answer: Exclude<Awaited<ReturnType<TryLogin>>, "let in">) => ({
  found: answer === "refused" ? "refused (401)" : answer.problem,
});

/** Every client namespace pulls as the newest user, and that user is let in. */
export async function checkPullSecrets({ pullSecrets, pullers, host }: Facts, tryLogin: TryLogin): Promise<Finding[]> {
  const [newest, ...former] = pullers;
  const answers = new Map<string, ReturnType<TryLogin>>();
  const ask = (login: NonNullable<PullSecret["login"]>) => {
    const key = JSON.stringify(login);
    const answer = answers.get(key) ?? tryLogin(login);
    answers.set(key, answer);
    return answer;
  };
  const findings = await Promise.all(
    pullSecrets.map(async ({ namespace, login }): Promise<Finding> => {
      const what = `pull secret in ${namespace}`;
      if (!login) return { what, ok: false, found: `has no login for ${host}`, toDo: UP };
      if (newest && login.user !== newest.name) {
        return { what, ok: false, found: `has ${login.user}, the newest is ${newest.name}`, toDo: UP };
      }
      const answer = await ask(login);
      if (answer === "let in") return { what, ok: true, found: `${login.user}, let in` };
      return {
        what,
        ok: false,
        found: `${login.user}: ${refused(answer).found}`,
        toDo: answer === "refused" ? `${UP}; somebody has changed it by hand` : AGAIN,
      };
    }),
  );
  if (pullSecrets.length === 0) findings.push({ what: "pull secrets", ok: undefined, found: "no namespace has one" });
  for (const { name } of former) {
    const toDo = "once all have moved: pulumi config set --path registry.keepFormerPullUser false && pulumi up";
    findings.push({ what: `former user ${name}`, ok: undefined, found: "still let in", toDo });
  }
  return findings;
}

/** Every node was proven to pull as the newest user, with the CA that there is. */
export function checkNodes({ nodes, pullers, ca }: Facts): Finding[] {
  if (!nodes) return [{ what: "nodes", ok: undefined, found: "this stack tells none" }];
  const newest = pullers[0]?.name;
  return Object.entries(nodes.provenAt).map(([name, provenAt]) => {
    const what = `node ${name}`;
    if (!isProven(provenAt)) return { what, ok: false, found: "never proven to pull", toDo: UP };
    if (nodes.user === undefined) {
      return { what, ok: undefined, found: `proven ${provenAt}, by a program that did not note as whom`, toDo: UP };
    }
    if (nodes.user !== newest) {
      return {
        what,
        ok: false,
        found: `pulls as ${nodes.user}, the newest is ${newest}`,
        toDo: `${UP}; where it fails: docs/node-trust.md`,
      };
    }
    if (ca && nodes.ca !== checksumOfCa(ca)) {
      return { what, ok: false, found: "trusts a former CA", toDo: `${UP}; where it fails: docs/node-trust.md` };
    }
    return { what, ok: true, found: `pulls as ${nodes.user}, proven ${provenAt}` };
  });
}

/** Everybody who was given the CA has the one that there is, and every certificate is of it. */
export function checkCa({ ca, caCopies, certificates }: Facts, now: Date): Finding[] {
  const copies = caCopies.map(({ where, pem }): Finding => {
    const what = `CA in ${where}`;
    if (!ca) return { what, ok: undefined, found: "certificates are of another CA" };
    if (pem.trim() === ca.trim()) return { what, ok: true, found: nameOf(ca) };
    return { what, ok: false, found: `${madeAt(pem)}, not ${madeAt(ca)}`, toDo: UP };
  });
  const issued = certificates.map(({ workload, pem }): Finding => {
    const what = `certificate of ${workload}`;
    const problem = problemOf(new X509Certificate(pem), ca, now);
    return problem ? { what, ok: false, found: problem, toDo: UP } : { what, ok: true, found: until(pem, now) };
  });
  const own: Finding[] = ca
    ? [{ what: "CA", ok: daysLeft(ca, now) >= SOON, found: `${nameOf(ca)}, ${until(ca, now)}`, toDo: UP }]
    : [];
  return [...own, ...copies, ...issued];
}

/** What a client is shown at an address. */
export async function checkServed(url: string, { ca }: Facts, now: Date): Promise<Finding[]> {
  if (!url.startsWith("https:")) return [{ what: url, ok: undefined, found: "no TLS" }];
  const shown = await certificateAt(url, ca);
  if (!shown) return [{ what: url, ok: undefined, found: "not reached from this machine" }];
  const problem = problemOf(shown.certificate, ca, now) ?? shown.problem;
  const toDo = "the pod has not been made anew, or the ingress has not read the new one: kubectl rollout restart it";
  return [
    problem
      ? { what: url, ok: false, found: problem, toDo }
      : { what: url, ok: true, found: until(shown.certificate, now) },
  ];
}

/** Days before its end from which a certificate is a reason to act, as the monitoring has it. */
const SOON = 14;

function problemOf(certificate: X509Certificate, ca: string | undefined, now: Date): string | undefined {
  if (ca) {
    const issuer = new X509Certificate(ca);
    const isOfIt = certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
    if (!isOfIt) return `is of ${commonName(certificate.issuer)}, not of ${nameOf(ca)}`;
  }
  return daysLeft(certificate, now) < SOON ? until(certificate, now) : undefined;
}

const parsed = (certificate: string | X509Certificate): X509Certificate =>
  typeof certificate === "string" ? new X509Certificate(certificate) : certificate;

const commonName = (subject: string): string => /^CN=(.*)$/m.exec(subject)?.[1] ?? subject;

const NONE = "no certificate";

function nameOf(pem: string): string {
  try {
    return commonName(new X509Certificate(pem).subject);
  } catch {
    return NONE;
  }
}

/** Its name and when it was made: after a destroy there is another one of the same name. */
function madeAt(pem: string): string {
  const name = nameOf(pem);
  return name === NONE ? name : `${name} of ${new X509Certificate(pem).validFromDate.toISOString().slice(0, 16)}Z`;
}

const daysLeft = (certificate: string | X509Certificate, now: Date): number =>
  Math.floor((parsed(certificate).validToDate.getTime() - now.getTime()) / 86_400_000);

function until(certificate: string | X509Certificate, now: Date): string {
  const days = daysLeft(certificate, now);
  const date = parsed(certificate).validToDate.toISOString().slice(0, 10);
  return days < 0 ? `ended ${date}` : `ends ${date}, in ${days} days`;
}

/** How long a machine may take to be connected, in milliseconds. */
const PATIENCE = 5000;

interface Shown {
  certificate: X509Certificate;
  /** Why a client that trusts the CA would not go on. */
  problem: string | undefined;
}

/** What is shown, whether trusted or not: nothing is sent. Undefined where nobody answers. */
function certificateAt(url: string, ca: string | undefined): Promise<Shown | undefined> {
  const { hostname, port } = new URL(url);
  const host = hostname.replaceAll(/[[\]]/g, "");
  // TLS names no addresses (RFC 6066).
  const servername = isIP(host) ? "" : host;
  return new Promise((resolve) => {
    const trusted = ca ? [ca] : getCACertificates("default");
    const options = { host, port: Number(port || 443), servername, ca: trusted, rejectUnauthorized: false };
    const socket = connect(options, () => {
      const certificate = socket.getPeerX509Certificate();
      const problem = socket.authorizationError ? String(socket.authorizationError) : undefined;
      done(certificate && { certificate, problem });
    });
    const done = (shown: Shown | undefined) => {
      socket.destroy();
      resolve(shown);
    };
    socket.setTimeout(PATIENCE, () => done(undefined));
    socket.once("error", () => done(undefined));
  });
}
