import { parseArgs } from "node:util";

const USAGE = `Times the deployed registry against the same registry set up as tutorials do, and without a login.

  npm run bench -- [--runs N] [--pod-limits] [--measures TEXT] [--systems NAME,NAME]

  --runs N         rounds that count (5). What takes minutes gets fewer, never less than three
  --pod-limits     the other two get the sum of the CPU limits of the pod's containers, not only the registry's
  --measures TEXT  only measures whose id contains this, for example push-100 or 500mb
  --systems NAMES  only these: homecloud, tutorial, no login`;

export interface Options {
  runs: number;
  podLimits: boolean;
  measures: string;
  systems: string[] | undefined;
}

/** Reads the command line; where it asks for help or is wrong, says how it goes and ends. */
export function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      runs: { type: "string", default: "5" },
      "pod-limits": { type: "boolean", default: false },
      measures: { type: "string", default: "" },
      systems: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  const runs = Number(values.runs);
  if (values.help || !Number.isInteger(runs) || runs < 1) {
    console.log(USAGE);
    process.exit(values.help ? 0 : 2);
  }
  const { measures, systems } = values;
  return { runs, podLimits: values["pod-limits"], measures, systems: systems?.split(",") };
}
