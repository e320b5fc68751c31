import { chmod, mkdir } from "node:fs/promises";
import { makeMarkedFolder } from "./marked-folder.ts";
import { inState, runDir, stateDir, storageDir } from "./paths.ts";

/** Makes the folders. Keys, logs and pids are root's alone. */
export async function makeStateDir(): Promise<void> {
  await makeMarkedFolder(stateDir, 0o711);
  await mkdir(runDir, { recursive: true, mode: 0o711 });
  for (const folder of [stateDir, runDir]) await chmod(folder, 0o711);
  for (const folder of ["pki", "log", "pid", "config"]) await mkdir(inState(folder), { recursive: true, mode: 0o700 });
  for (const folder of ["certs.d", "cni"]) await mkdir(inState(folder), { recursive: true });
  await mkdir(storageDir, { recursive: true });
}
