import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { withLibraries } from "../images/shared-libraries.ts";
import type { TarEntry } from "../images/tar.ts";
import { labDir } from "../paths.ts";

/** What LocalStack runs functions of the runtime `nodejs24.x` in. */
export const NODE_RUNTIME = "public.ecr.aws/lambda/nodejs:24";

/** The Node that runs the lab itself is of the very version that the runtime is named after. */
const node = process.execPath;
const bootstrap = join(labDir, "lambda", "bootstrap.ts");

/** What the files below are made from. */
export const runtimeSources = [node, bootstrap];

/** Node where AWS's image has it, and what runs a function with it. */
export async function runtimeFiles(): Promise<TarEntry[]> {
  return [
    ...["lib64", "opt", "var", "var/lang", "var/lang/bin", "var/runtime", "var/task"].map(
      (path) => ({ path, folder: true }) as const,
    ),
    ...(await withLibraries(node, "var/lang/bin/node")),
    { path: "var/runtime/bootstrap.mts", content: await readFile(bootstrap) },
    { path: "var/runtime/bootstrap", mode: 0o755, content: START },
    // Without this file, names are asked of DNS before /etc/hosts is read.
    { path: "etc/nsswitch.conf", content: "hosts: files dns\n" },
    // LocalStack's own init adds the user that functions run as, and says so where these files are missing.
    {
      path: "etc/passwd",
      content: "root:x:0:0:root:/root:/bin/sh\nsbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n",
    },
    { path: "etc/group", content: "root:x:0:\n" },
    { path: "etc/shadow", mode: 0o600, content: "root:*:::::::\n" },
  ];
}

const START = `#!/bin/sh
export AWS_EXECUTION_ENV=AWS_Lambda_nodejs24.x
exec /var/lang/bin/node /var/runtime/bootstrap.mts
`;
