import { setTimeout as sleep } from "node:timers/promises";
import { shellQuote } from "../../lab/wrappers.ts";
import { partsOf } from "./machine.ts";
import type { TestNode } from "./test-node.ts";

/** What became of a node's pulls over some time. */
export interface Pulls {
  ok: number;
  /** Attempts for which there was no containerd, or one that ended meanwhile. They are repeated, as kubelet does. */
  restarting: number;
  /** What containerd said of the others. */
  failed: string[];
  /** Milliseconds from one success to the next, at most. */
  longestGap: number;
}

interface Attempt {
  began: number;
  ended: number;
  result: "ok" | "restarting" | "failed";
  output: string;
}

interface Login {
  name: string;
  password: string;
}

const LOG = "/var/tmp/pulls";
const STOP = "/var/tmp/pulls-end";
/** crictl's words when there is no CRI to talk to. A registry that is down is `dial tcp`, and a failure. */
const NO_CRI = "dial unix [^ ]*containerd[.]sock|error reading from server|transport is closing|not initialized yet";

/** Lets nodes pull an image all the time, each in a loop of its own, through the containerd that its pods would use. */
export class Pullers {
  private readonly loops: Promise<unknown>[];
  private readonly nodes: TestNode[];
  private readonly taken = new Map<string, number>();

  private constructor(nodes: TestNode[], image: string, login?: Login) {
    this.nodes = nodes;
    this.loops = nodes.map((node) => node.exec(loop(node, image, login)));
  }

  /** `login` is what a pod's pull secret says, where the nodes have none of their own. */
  static async start(nodes: TestNode[], image: string, login?: Login): Promise<Pullers> {
    for (const node of nodes) await node.exec(`rm -f ${LOG} ${STOP}; touch ${LOG}`);
    return new Pullers(nodes, image, login);
  }

  /** What has begun since it was asked last and until now, by node, and so many attempts more. */
  async take(more = 0): Promise<Map<string, Pulls>> {
    const now = Date.now();
    const pulls = this.nodes.map(async (node) => [node.name, await this.takeFrom(node, now, more)] as const);
    return new Map(await Promise.all(pulls));
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.exec(`touch ${STOP}`)));
    await Promise.all(this.loops);
  }

  /** A line that is not there yet is of an attempt that is under way. */
  private async takeFrom(node: TestNode, now: number, more: number): Promise<Pulls> {
    const from = this.taken.get(node.name) ?? 0;
    for (const deadline = now + 60_000; Date.now() < deadline; await sleep(100)) {
      const attempts = (await node.readFile(LOG)).split("\n").slice(0, -1).map(parse);
      const next = attempts.findIndex(({ began }) => began > now);
      if (next < 0 || attempts.length < next + more) continue;
      this.taken.set(node.name, next + more);
      return summary(attempts.slice(from, next + more), attempts.slice(0, from).at(-1));
    }
    throw new Error(`${node.name} pulls no more`);
  }
}

/** One line for people. */
export function describePulls(pulls: Map<string, Pulls>): string {
  const each = [...pulls].map(
    ([node, { ok, failed, restarting, longestGap }]) =>
      `${node} ${ok} ok, ${failed.length} failed, ${restarting} without containerd, ${longestGap} ms apart at most`,
  );
  return each.join("; ");
}

/** The service's process is looked up only where it has ended: what fails beside a living one has no excuse. */
function loop({ name, role, distribution, service }: TestNode, image: string, login?: Login): string {
  const { crictl } = partsOf({ name, role, distribution });
  const credentials = login ? `--creds ${shellQuote(`${login.name}:${login.password}`)} ` : "";
  return `pid=
while [ ! -e ${STOP} ]; do
  [ -n "$pid" ] && [ -d "/proc/$pid" ] || pid=$(systemctl show -p MainPID --value ${service})
  ${crictl} rmi ${image} >/dev/null 2>&1
  began=$EPOCHREALTIME
  if output=$(${crictl} pull ${credentials}${image} 2>&1); then result=ok
  elif [ ! -d "/proc/$pid" ] || grep -Eq ${JSON.stringify(NO_CRI)} <<<"$output"; then result=restarting
  else result=failed
  fi
  echo "$began $EPOCHREALTIME $result \${output//$'\\n'/ }"
  sleep 0.5
done >>${LOG}`;
}

function parse(line: string): Attempt {
  const [began, ended, result, ...output] = line.split(" ");
  const at = (time = "") => Number(time) * 1000;
  return { began: at(began), ended: at(ended), result: result as Attempt["result"], output: output.join(" ") };
}

const isOk = ({ result }: Attempt) => result === "ok";

function summary(attempts: Attempt[], before: Attempt | undefined): Pulls {
  const successes = [...(before ? [before] : []), ...attempts].filter(isOk).map(({ ended }) => ended);
  const gaps = successes.slice(1).map((ended, index) => ended - (successes[index] ?? ended));
  return {
    ok: attempts.filter(isOk).length,
    restarting: attempts.filter(({ result }) => result === "restarting").length,
    failed: attempts.filter(({ result }) => result === "failed").map(({ output }) => output),
    longestGap: Math.round(Math.max(0, ...gaps)),
  };
}
