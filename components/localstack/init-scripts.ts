import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Where LocalStack looks for scripts to run once it is ready. */
export const INIT_FOLDER = "/etc/localstack/init/ready.d";

/** Where it looks for scripts to run, in its own process where they are Python, while it starts. */
export const START_FOLDER = "/etc/localstack/init/start.d";

/** How the names begin of what LocalStack runs of ours, before people's: health.py, which has it too, tells of theirs only. */
export const OWN_PREFIX = "00-homecloud-";

/** What LocalStack runs: shell scripts and Python, in the order of their names. */
const SCRIPT = /^[A-Za-z0-9._-]+\.(sh|py)$/;

/** The scripts of a folder by name. A folder that is not there holds none. Throws where a name could not be mounted. */
export function readInitScripts(folder: string): Record<string, string> {
  if (!existsSync(folder)) return {};
  const names = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map(({ name }) => name)
    .filter((name) => !name.startsWith(".") && /\.(sh|py)$/.test(name));
  const odd = names.find((name) => !SCRIPT.test(name));
  if (odd) throw new Error(`${join(folder, odd)}: allowed in its name: letters, digits, '.', '_' and '-'.`);
  return Object.fromEntries(names.toSorted().map((name) => [name, readFileSync(join(folder, name), "utf8")]));
}
