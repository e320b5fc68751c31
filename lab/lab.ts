import { Listr, type ListrTask } from "listr2";
import { applyAddons } from "./cluster/addons.ts";
import { ensureHostNetwork, removeHostNetwork } from "./cluster/host-network.ts";
import { writeKubeconfigs } from "./cluster/kubeconfig.ts";
import { ensurePki } from "./cluster/pki.ts";
import { addonsReady, apiServerReady, containerdReady, nodeReady, podsAreTrue } from "./cluster/readiness.ts";
import { describeServices, SERVICE_NAMES, type ServiceName } from "./cluster/services.ts";
import { recordSysctls, restoreKubeletSysctls, restoreSysctls } from "./cluster/sysctls.ts";
import {
  endContainers,
  removeCgroups,
  removeRunFiles,
  removeState,
  removeStrayFiles,
  unmountAll,
} from "./cluster/teardown.ts";
import { exists } from "./files.ts";
import { buildImages, importImages } from "./images/import.ts";
import { withLock } from "./lock.ts";
import { deleteMarkedFolder } from "./marked-folder.ts";
import { NODE_NAME } from "./network.ts";
import { cacheDir, kubeconfigPath, runDir, stateDir } from "./paths.ts";
import { checkClusterCanRun, checkRoot } from "./preflight.ts";
import { ensureRunning, isRunning, type Service, stopService } from "./processes.ts";
import { makeStateDir } from "./state.ts";
import { prepareTools, type Report, tools } from "./tools.ts";

export { LabError } from "./error.ts";
export { importImage } from "./images/import.ts";
export { prepareTools, type Report, type ToolName, type Tools } from "./tools.ts";
export { trustRegistry } from "./trust-registry.ts";

export interface Lab {
  kubeconfig: string;
  stateDir: string;
  nodeName: string;
  /** Absolute path of a tool: kubectl, ctr, nginx, skopeo, shellcheck, registry … */
  bin(name: string): string;
  /** This process's environment with the tools first on PATH. */
  env: NodeJS.ProcessEnv;
}

export interface StartOptions {
  /** Shows nothing. Defaults to false. */
  quiet?: boolean;
}

/** Brings the cluster up, whatever state it is in; where it runs already, nothing changes. */
export async function startLab({ quiet = false }: StartOptions = {}): Promise<Lab> {
  await run(quiet, checkClusterCanRun, startTasks());
  return describeLab();
}

/** How to use the lab, running or not. */
export function describeLab(): Lab {
  const { bin, env } = tools();
  return {
    kubeconfig: kubeconfigPath,
    stateDir,
    nodeName: NODE_NAME,
    bin,
    env: { ...env, KUBECONFIG: kubeconfigPath },
  };
}

function startTasks(): ListrTask[] {
  let archives = new Map<string, string>();
  let services: Record<ServiceName, Service>;
  const start = (...names: ServiceName[]) => Promise.all(names.map((name) => ensureRunning(services[name])));
  return [
    step("Tools", async (report) => {
      await prepareTools(report);
      archives = await buildImages(report);
    }),
    step("Certificates and settings", async () => {
      await makeStateDir();
      await ensurePki();
      await writeKubeconfigs();
      services = await describeServices(tools());
    }),
    step("Network", async () => {
      await recordSysctls();
      await ensureHostNetwork(tools());
    }),
    step("Control plane", async (report) => {
      await start("containerd", "etcd", "kube-apiserver");
      await Promise.all([containerdReady().then(() => importImages(archives, report)), apiServerReady()]);
      await start("kube-controller-manager", "kube-scheduler");
    }),
    step("Node", async () => {
      await start("kubelet", "kube-proxy");
      await nodeReady();
    }),
    step("Cluster DNS and storage", async () => {
      await applyAddons();
      await addonsReady();
      await podsAreTrue();
      await restoreKubeletSysctls();
    }),
  ];
}

export interface StopOptions {
  /** Forgets the cluster: etcd, volumes, pulled images. Defaults to false: the next start is a reboot. */
  deleteState?: boolean;
  /** Deletes what was downloaded and built as well. Defaults to false. */
  deleteCache?: boolean;
  /** Shows nothing. Defaults to false. */
  quiet?: boolean;
}

/** Ends what the lab started and undoes what it changed on the machine. */
export async function stopLab({
  deleteState = false,
  deleteCache = false,
  quiet = false,
}: StopOptions = {}): Promise<void> {
  await run(quiet, checkRoot, [
    step("Containers", async () => {
      for (const name of ["kube-controller-manager", "kube-scheduler", "kubelet"] as const) await stopService(name);
      await endContainers();
    }),
    step("Control plane", async () => {
      for (const name of [...SERVICE_NAMES].reverse()) await stopService(name);
    }),
    step("Mounts and network", async () => {
      await unmountAll();
      // Without run files the lab has not been up since the boot, and KUBE- rules would be another cluster's.
      if (!(await exists(runDir))) return;
      await removeHostNetwork(tools());
      await restoreSysctls();
      await removeCgroups();
      await removeStrayFiles();
      await removeRunFiles();
    }),
    ...(deleteState ? [step("State", removeState)] : []),
    ...(deleteCache ? [step("Cache", () => deleteMarkedFolder(cacheDir))] : []),
  ]);
}

export interface LabStatus {
  /** Whether every part runs. */
  running: boolean;
  services: Record<ServiceName, boolean>;
}

/** Which parts of the lab run. */
export async function labStatus(): Promise<LabStatus> {
  const entries = await Promise.all(SERVICE_NAMES.map(async (name) => [name, await isRunning(name)] as const));
  const services = Object.fromEntries(entries) as Record<ServiceName, boolean>;
  return { running: entries.every(([, up]) => up), services };
}

function step(title: string, work: (report: Report) => Promise<void>): ListrTask {
  return {
    title,
    task: (_, task) =>
      work((line) => {
        task.output = line;
      }),
  };
}

/** One start or stop at a time, each step shown as it goes. */
async function run(quiet: boolean, check: () => void | Promise<void>, steps: ListrTask[]): Promise<void> {
  const say: Report = quiet ? () => {} : (line) => console.error(line);
  await withLock(stateDir, say, async () => {
    await check();
    const list = new Listr(steps, { renderer: quiet ? "silent" : "default", fallbackRenderer: "simple" });
    await list.run();
  });
}
