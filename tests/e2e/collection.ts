import type { Readable } from "node:stream";

/** The steps of a collection, each of which may be its last. */
export const STEPS = ["holding", "waiting", "drained", "mark", "sweep"] as const;
export type StepName = (typeof STEPS)[number];

/** What `homecloud gc --untagged` says on its error stream, elsewhere than on a terminal, when it has come to a step. */
const SAID: Record<StepName, string> = {
  holding: "closing the gate",
  waiting: "1 under way",
  drained: "Remove old manifests",
  mark: "Mark what is in use",
  sweep: "Remove the rest",
};

/** Until the command says that it has come to this step. Throws where it ends before. */
export async function told({ stderr }: { stderr: Readable }, step: StepName): Promise<void> {
  let said = "";
  await new Promise<void>((resolve, reject) => {
    stderr.on("data", (chunk: Buffer | string) => {
      said += String(chunk);
      if (said.includes(SAID[step])) resolve();
    });
    stderr.once("end", () => reject(new Error(`it ended before this step, ${step}: ${said}`)));
  });
}

/** The script's lines from which on it, or its collector, is in the middle of a step. */
export const ARRIVED: Record<StepName, RegExp> = {
  holding: /"step":"holding"/,
  waiting: /"step":"waiting"/,
  drained: /"step":"drained"/,
  mark: /"step":"mark","done":[1-9]/,
  sweep: /"step":"sweep","done":[1-9]/,
};

/** The collection's processes in the pod. In brackets, so that the command line that looks for them is none of them. */
export const PROCESSES = "ps -o args | grep -E '[c]ollect-garbage|[g]arbage-collect ' || true";

/** Kills the processes whose command line has this in it, in the pod. Some may have ended since they were listed. */
export const kill = (victim: string): string =>
  `ps -o pid,args | awk '/[${victim[0]}]${victim.slice(1)}/ { print $1 }' | xargs -r kill -9 || true`;

/**
 * Collects in the pod, and kills a part of it the moment it tells of this step. What it told is printed. Its own command line
 * does not have the script's name in it.
 */
export const collectAndKill = (victim: string, step: StepName): string => `
  sh /etc/homecloud/collect-*.sh --untagged --porcelain 2>&1 | while read -r line; do
    echo "$line"
    if echo "$line" | grep -q '${ARRIVED[step].source}'; then ${kill(victim)}; fi
  done`;

/** Blobs that nothing names: work for a collector that sweeps. */
export const addBlobs = (count: number): string => `
  cd $VOLUME/docker/registry/v2/blobs/sha256
  folders=$(awk -v now=$(date +%s) 'BEGIN { for (n = 0; n < ${count}; n++) printf "00/00%010d%052d\\n", now, n }')
  echo "$folders" | xargs mkdir -p && echo "$folders" | sed 's|$|/data|' | xargs touch`;

/** Images of one repository, young and without tags: work for a collector that marks. */
export const addManifests = (count: number): string => `
  cd $VOLUME/docker/registry/v2
  mkdir -p repositories/work/_layers
  n=0; while [ $n -lt ${count} ]; do
    text='{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[],"annotations":{"number":"'$n'"}}'
    set -- $(printf %s "$text" | sha256sum)
    blob=blobs/sha256/$(echo $1 | cut -c1-2)/$1 revision=repositories/work/_manifests/revisions/sha256/$1
    mkdir -p $blob $revision; printf %s "$text" >$blob/data; printf sha256:$1 >$revision/link
    n=$((n + 1))
  done`;
