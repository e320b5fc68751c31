import { LabError } from "../error.ts";
import { readIfThere, writeIfChanged } from "../files.ts";
import type { Lab } from "../lab.ts";
import { inState } from "../paths.ts";
import { deployWithPulumi, findPulumi } from "./with-pulumi.ts";
import { deployRender } from "./with-render.ts";

/** Stack that the lab deploys. */
export const STACK = "local";

/** What the lab's own commands need of the stack's outputs. */
export interface LocalOutputs {
  registryUrl: string;
  /** Undefined where there is no web page. */
  registryUiUrl?: string;
  registryHost: string;
  registryUser: string;
  registryPassword: string;
  registryPullUser: string;
  registryPullPassword: string;
  caCertificate: string;
  dnsmasqLines: string[];
  localstackEndpoint: string;
  awsEnvironment: Record<string, string>;
  awsEnvFile: string;
}

export interface Deployment {
  /** What deployed it: Pulumi's engine, or kubectl with the program's render. */
  engine: "pulumi" | "render";
  outputs: LocalOutputs;
}

/**
 * Deploys the local stack: with Pulumi where there is a CLI, else by applying the render (always with
 * HOMECLOUD_ENGINE=render). What deployed it first does so from then on, because the two keep their passwords and their CA
 * in different places.
 */
export async function deployLocalStack(lab: Lab): Promise<Deployment> {
  const note = inState("deployed-with");
  const before = (await readIfThere(note))?.trim();
  const render = before === "render" || (before === undefined && process.env.HOMECLOUD_ENGINE === "render");
  const pulumi = render ? undefined : await findPulumi();
  if (before === "pulumi" && !pulumi) {
    throw new LabError(
      "the stack was deployed with Pulumi, which is not on PATH now; put it back there, or begin anew with: npm stop -- --delete",
    );
  }
  const deployment: Deployment = pulumi
    ? { engine: "pulumi", outputs: await deployWithPulumi(lab, pulumi) }
    : { engine: "render", outputs: await deployRender(lab) };
  await writeIfChanged(note, `${deployment.engine}\n`);
  return deployment;
}
