import { setTimeout as sleep } from "node:timers/promises";
import type { TestNode } from "./test-node.ts";

/** What somebody who looks at a node the whole time has seen. */
export interface Seen {
  /** Processes whose command line or environment held the secret, as `/proc` shows them. */
  bySampling: string[];
  /** Programs that were started with the secret in their command line or environment, however short they lived. */
  byStart: string[];
  /** How often all processes were looked at. */
  looks: number;
  /** Names of programs whose every start was looked at. */
  programs: string[];
}

const FOLDER = "/usr/local/lib/snoop";
const FOUND = `${FOLDER}/found`;
const END = `${FOLDER}/end`;
/** First on every PATH of a node's. */
const WRAPPERS = "/usr/local/sbin";
/** Everything of the node's own that can be written to: /usr and /etc show what is in here, of this machine's beside. */
const DISKS = "/.changes /etc/rancher /run /tmp /var /root /home /opt /srv /mnt /dev/shm";
const PROGRAMS = [
  ...[
    "awk",
    "cat",
    "cp",
    "curl",
    "date",
    "df",
    "flock",
    "grep",
    "head",
    "id",
    "journalctl",
    "k3s",
    "ln",
    "mkdir",
    "mv",
  ],
  ...["rm", "rmdir", "sed", "sleep", "sync", "systemctl", "tail", "timeout", "tr", "printf", "echo", "env"],
];

/**
 * Reads command lines and environments on a node as fast as it can, and has every program of the list write its own down as
 * it starts. It gets the secret through a pipe, so that it does not find itself.
 */
export class Snoop {
  private readonly node: TestNode;
  private readonly sampling: Promise<{ stdout: string }>;
  private readonly secret: string;

  private constructor(node: TestNode, secret: string) {
    this.node = node;
    this.secret = secret;
    this.sampling = node.exec(SAMPLE, { input: `${secret}\n` });
  }

  static async start(node: TestNode, secret: string): Promise<Snoop> {
    const { exitCode, all } = await node.exec(`rm -rf ${FOLDER} && mkdir -p ${FOLDER} && ${INSTALL}`);
    if (exitCode !== 0) throw new Error(all);
    const snoop = new Snoop(node, secret);
    while (!(await node.exists(FOUND))) await sleep(20);
    return snoop;
  }

  async stop(): Promise<Seen> {
    await this.node.exec(`touch ${END}`);
    const [looks = "", ...bySampling] = (await this.sampling).stdout.trimEnd().split("\n");
    const { stdout } = await this.node.exec(`cd ${FOLDER}; read -r secret; ${STARTS}`, { input: `${this.secret}\n` });
    const [programs = "", ...byStart] = stdout.trimEnd().split("\n");
    await this.node.exec(`cd ${WRAPPERS} && /bin/rm -rf ${PROGRAMS.join(" ")} ${FOLDER}`);
    return { bySampling, byStart, looks: Number(looks), programs: programs.split(" ") };
  }
}

const SAMPLE = `read -r secret; looks=0
while [ ! -e ${END} ]; do
  printf '%s\\n' "$secret" | grep -alF -f - /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null >>${FOUND}
  looks=$((looks + 1))
done
echo $looks; sort -u ${FOUND}`;

/** A program that is not on the node gets no wrapper: whoever asks whether it is there must not be told that it is. */
const INSTALL = PROGRAMS.map(
  (name) =>
    `if real=$(PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin type -P ${name}); then printf '%s\\n' '#!/bin/bash' ` +
    `'/bin/cat /proc/$$/cmdline /proc/$$/environ >${FOLDER}/start-${name}-$$' "exec $real \\"\\$@\\"" >${WRAPPERS}/${name} ` +
    `&& chmod 755 ${WRAPPERS}/${name}; fi`,
).join("; ");

const STARTS = `/bin/ls | /bin/sed -n 's/^start-\\(.*\\)-[0-9]*$/\\1/p' | /usr/bin/sort -u | /usr/bin/tr '\\n' ' '; echo
printf '%s\\n' "$secret" | /bin/grep -alF -f - start-* 2>/dev/null; true`;

/** The node's files that hold one of these texts, those of K3s and of the journal included. */
export async function filesWith(node: TestNode, ...texts: string[]): Promise<string[]> {
  const pattern = `${texts.join("\n")}\n`;
  const { stdout } = await node.exec(`grep -ralF -D skip -f - ${DISKS} 2>/dev/null | sort -u`, { input: pattern });
  return stdout.split("\n").filter(Boolean);
}
