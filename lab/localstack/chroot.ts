import { execa } from "execa";
import { LabError } from "../error.ts";

/** Lets a script work in the root folder: its own /proc and /dev, mounted for it alone, and the environment given. */
export interface ChrootOptions {
  /** Variables that the script gets besides PATH and HOME. Defaults to none. */
  env?: NodeJS.ProcessEnv;
  /** Whether it reaches the network. Defaults to false. */
  network?: boolean;
}

const MOUNT_AND_ENTER = `set -e
mkdir -p "$1/proc" "$1/dev"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
exec nice chroot "$@"`;

export async function runIn(root: string, command: string[], options: ChrootOptions = {}): Promise<void> {
  const isolation = ["--mount", "--propagation", "private", ...(options.network ? [] : ["--net"])];
  const { failed, all } = await execa("unshare", [...isolation, "sh", "-c", MOUNT_AND_ENTER, "sh", root, ...command], {
    env: { ...options.env, PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root" },
    extendEnv: false,
    all: true,
    reject: false,
  });
  if (failed) throw new LabError(`${command.join(" ")} failed while an image was made: ${all.trim().slice(-1500)}`);
}
