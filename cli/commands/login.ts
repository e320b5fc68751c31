import { delimiter, dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import { type Context, withContext } from "../context.ts";
import type { RegistryAccess } from "../deployment.ts";
import { UserError } from "../errors.ts";
import { caFiles, containersAuth, dockerConfig, nameHelper, trusts, writeCa } from "../login/changes.ts";
import { helperProgram, onPath, putOnPath } from "../login/helper-program.ts";
import { type Changes, readLogins, settingsFolder, writeLogin } from "../login/logins.ts";
import { RegistryClient } from "../registry/client.ts";

export function addLogin(program: Command): void {
  program
    .command("login")
    .summary("let Docker, Podman and skopeo log in by themselves")
    .description(
      "Lets Docker, Podman and skopeo of this person log in to the registry by themselves. No password is written: docker-credential-homecloud reads it from the cluster each time, with the rights of the kubeconfig. Whoever can use this kubeconfig can push.",
    )
    .addHelpText("after", "\nExamples:\n  homecloud login\n  homecloud --context home login\n  homecloud login --json")
    .action(withContext<[]>(login));
}

/** What was done, for scripts; what is still to do is told in sentences. */
interface Done {
  host: string;
  user: string;
  files: string[];
  helper: string | undefined;
  works: boolean;
  toDo: string[];
}

async function login(context: Context): Promise<void> {
  const access = await context.registryAccess();
  const { host, user, namespace } = access;
  const logins = await readLogins();
  const earlier = logins[host]?.changes;
  const toDo: string[] = [];

  const helper = await putOnPath();
  if (!helper.found) toDo.push(helperToDo());
  const changes: Changes = {
    helpers: [],
    certificates: [...(earlier?.certificates ?? [])],
    link: helper.made ?? Object.values(logins).find(({ changes }) => changes.link === helper.found)?.changes.link,
  };
  const remember = () =>
    writeLogin(host, {
      ...kubeconfigFiles(),
      context: context.kube.context,
      namespace,
      user,
      changes,
    });
  // Before the clients are told: what breaks off from here on can be undone.
  await remember();
  for (const file of [dockerConfig(), await containersAuth()]) {
    if (!file) continue;
    const { password, ...change } = await nameHelper(file, host, earlier?.helpers);
    changes.helpers.push(change);
    if (password)
      toDo.push(
        `an earlier password for ${host} still stands in ${file}: docker logout ${host} removes it, then log in here again`,
      );
  }
  await trust(access, changes, toDo);
  await remember();

  const refused = await tryLogin(access);
  if (refused) toDo.push(refused);
  const files = changes.helpers.map(({ file }) => file);
  const done: Done = { host, user, files, helper: helper.found, works: !refused, toDo };
  context.print(done, told(done));
  if (refused) throw new UserError(`the login for ${host} is set up, but does not work yet`);
}

/** Docker calls the helper from wherever it is. */
function kubeconfigFiles(): { kubeconfig?: string } {
  const files = (process.env.KUBECONFIG ?? "").split(delimiter).filter(Boolean);
  return files.length > 0 ? { kubeconfig: files.map((file) => resolve(file)).join(delimiter) } : {};
}

function told({ host, user, files, helper, works, toDo }: Done): string {
  return [
    ...files.map((file) => `${file} names docker-credential-homecloud for ${host}`),
    ...(helper ? [`${helper} reads the login from the cluster`] : []),
    ...(works ? [`logged in to ${host} as ${user}`] : []),
    ...toDo.map((line) => `to do: ${line}`),
  ].join("\n");
}

const helperToDo = () =>
  `docker-credential-homecloud is not on PATH: put ~/.local/bin on PATH and log in again, or sudo ln -s ${helperProgram()} /usr/local/bin/`;

/** Lets the clients trust a private CA, as far as that is this person's to do. */
async function trust({ host, ca }: RegistryAccess, changes: Changes, toDo: string[]): Promise<void> {
  if (!ca) return;
  const places = caFiles(host);
  const write = async (file: string) => {
    const { certificates } = changes;
    if ((await writeCa(file, ca, certificates)) && !certificates.includes(file)) certificates.push(file);
  };
  const isTrusted = (file: string) => trusts(dirname(file), ca);
  if ((await containersAuth()) && !(await isTrusted(places.containers))) await write(places.containers);
  if (!(await onPath("docker")) || (await isTrusted(places.docker))) return;
  const own = join(settingsFolder(), "certificates", `${host}.crt`);
  await write(own);
  toDo.push(`Docker trusts the registry's CA once root has run: sudo install -D -m 644 ${own} ${places.docker}`);
}

/** Logs in once as a client would, at the registry's address. Returns why it does not work. */
async function tryLogin(access: RegistryAccess): Promise<string | undefined> {
  const registry = new RegistryClient(access);
  try {
    await (await registry.ask("GET", "/v2/", {})).body.dump();
    return undefined;
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  } finally {
    await registry.close();
  }
}
