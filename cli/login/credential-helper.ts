import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { printAnswer } from "../answer.ts";
import { Kube } from "../cluster/kube.ts";
import { findDeployment, type RegistryAccess, registryAccess } from "../deployment.ts";
import { UserError } from "../errors.ts";
import { hostOf, type Login, loginFor, readLogins } from "./logins.ts";

/**
 * `docker-credential-homecloud`: Docker's credential-helper protocol. The login stands in the cluster and is read with the
 * kubeconfig's rights each time, so that a changed password needs no new login.
 * Source: https://github.com/docker/docker-credential-helpers/blob/master/credentials/credentials.go
 */
export interface Answer {
  /** The protocol has everything on standard output, errors too. */
  output: string;
  exitCode: 0 | 1;
}

/** What clients take for "there is none", and go on without. */
const NOT_FOUND = "credentials not found in native keychain";
const NO_SERVER = "no credentials server URL";

/** How long the cluster may take, in milliseconds: Docker shows nothing meanwhile. */
const PATIENCE = 10_000;

/** Reads a login from its cluster. */
export type ReadAccess = (login: Login) => Promise<Pick<RegistryAccess, "host" | "user" | "password">>;

export async function answer(action: string, input: string, read: ReadAccess): Promise<Answer> {
  try {
    const output = await act(action, input, read);
    return { output, exitCode: 0 };
  } catch (error) {
    if (error instanceof UserError) return { output: error.message, exitCode: 1 };
    throw error;
  }
}

async function act(action: string, input: string, read: ReadAccess): Promise<string> {
  if (action === "get") return await get(input.trim(), read);
  if (action === "list") {
    const users = Object.entries(await readLogins()).map(([host, { user }]) => [host, user]);
    return JSON.stringify(Object.fromEntries(users));
  }
  if (action === "store") return await store(input, read);
  if (action === "erase") {
    // `docker logout` asks for it. What it means is done by `homecloud logout`; there is nothing to erase here.
    if (!input.trim()) throw new UserError(NO_SERVER);
    return "";
  }
  throw new UserError(`docker-credential-homecloud knows get, store, erase and list, not ${action || "nothing"}`);
}

async function get(server: string, read: ReadAccess): Promise<string> {
  if (!server) throw new UserError(NO_SERVER);
  const login = await loginFor(hostOf(server));
  if (!login) throw new UserError(NOT_FOUND);
  const { user, password } = await readFor(hostOf(server), login, read);
  return JSON.stringify({ ServerURL: server, Username: user, Secret: password });
}

/** Contexts of many clusters have one name: what is read may be another registry's password, which this one must not get. */
async function readFor(host: string, login: Login, read: ReadAccess): ReturnType<ReadAccess> {
  const access = await read(login);
  if (access.host === host) return access;
  throw new UserError(
    `the cluster of context ${login.context} has the registry ${access.host}, not ${host}: run homecloud login with the right kubeconfig`,
  );
}

/** `docker login` ends with it: the login that is known already is taken, another would never be used. */
async function store(input: string, read: ReadAccess): Promise<string> {
  const { ServerURL = "", Username, Secret } = parse(input);
  const login = await loginFor(hostOf(ServerURL));
  if (!login)
    throw new UserError(`docker-credential-homecloud keeps logins of Homecloud's registries only: not ${ServerURL}`);
  const { user, password } = await readFor(hostOf(ServerURL), login, read);
  if (user === Username && password === Secret) return "";
  throw new UserError(
    `the login for ${hostOf(ServerURL)} is read from the cluster, and another is not kept here: run homecloud logout first to use your own`,
  );
}

function parse(input: string): { ServerURL?: string; Username?: string; Secret?: string } {
  try {
    return JSON.parse(input) as object;
  } catch {
    throw new UserError("store wants JSON with ServerURL, Username and Secret");
  }
}

/** From the cluster that was chosen at the login, whatever kubeconfig the shell has in which Docker was called. */
async function fromCluster(login: Login): Promise<RegistryAccess> {
  if (login.kubeconfig) process.env.KUBECONFIG = login.kubeconfig;
  else delete process.env.KUBECONFIG;
  const kube = Kube.load(login.context);
  const asked = findDeployment(kube, login.namespace).then((deployment) => registryAccess(kube, deployment));
  const late = sleep(PATIENCE, undefined, { ref: false }).then(() => {
    throw new UserError(`the cluster at ${kube.server} (context ${login.context}) does not answer`);
  });
  return await Promise.race([asked, late]);
}

if (import.meta.main) {
  const { output, exitCode } = await answer(process.argv[2] ?? "", await text(process.stdin), fromCluster);
  if (output) printAnswer(output);
  // Not the exit code alone: a cluster that does not answer keeps its connection open.
  process.exit(exitCode);
}
