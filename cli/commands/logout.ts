import type { Command } from "commander";
import { printAnswer } from "../answer.ts";
import { EXIT, UserError } from "../errors.ts";
import { removeCa, unnameHelper } from "../login/changes.ts";
import { takeOffPath } from "../login/helper-program.ts";
import { forgetLogin, hostOf, type Logins, readLogins } from "../login/logins.ts";

export function addLogout(program: Command): void {
  program
    .command("logout")
    .argument("[host]", "registry to log out of, where there are several")
    .summary("undo what login has changed")
    .description(
      "Undoes what login has changed on this machine, and nothing else. It needs no cluster. Images, users and passwords of the registry stay.",
    )
    .addHelpText("after", "\nExamples:\n  homecloud logout\n  homecloud logout registry.homelab.local")
    .action(async (wanted: string | undefined, _: object, command: Command) => {
      const { host, undone } = await logout(wanted);
      const { json } = command.optsWithGlobals<{ json?: boolean }>();
      printAnswer(json ? JSON.stringify({ host, undone }, null, 2) : [`logged out of ${host}`, ...undone].join("\n"));
    });
}

async function logout(wanted: string | undefined): Promise<{ host: string; undone: string[] }> {
  const logins = await readLogins();
  const host = choose(logins, wanted);
  const { helpers, certificates } = logins[host]?.changes ?? { helpers: [], certificates: [] };
  for (const helper of helpers) await unnameHelper(helper, host);
  for (const file of certificates) await removeCa(file);
  await forgetLogin(host);
  // The link serves every login: the last one takes it with it.
  const links = Object.values(logins).flatMap(({ changes }) => changes.link ?? []);
  if (Object.keys(logins).length === 1) for (const each of new Set(links)) await takeOffPath(each);
  const undone = [
    ...helpers.map(({ file }) => `${file} no longer names docker-credential-homecloud for it`),
    ...certificates.map((file) => `${file} is gone`),
  ];
  return { host, undone };
}

function choose(logins: Logins, wanted: string | undefined): string {
  const hosts = Object.keys(logins);
  const host = wanted === undefined ? hosts[0] : hosts.find((each) => each === hostOf(wanted));
  if (!host) {
    const there = hosts.length > 0 ? `there is a login for: ${hosts.join(", ")}` : "homecloud login makes one";
    throw new UserError(`there is no login${wanted ? ` for ${wanted}` : ""} on this machine; ${there}`, EXIT.missing);
  }
  if (wanted === undefined && hosts.length > 1) {
    throw new UserError(`there are ${hosts.length} logins: name one of ${hosts.join(", ")}`, EXIT.usage);
  }
  return host;
}
