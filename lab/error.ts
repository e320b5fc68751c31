/** Something that a person has to decide or repair: the message says it all, so no stack is printed with it. */
export class LabError extends Error {
  override readonly name = "LabError";
}

/** Ends every refusal to run on this machine. */
export const INSTEAD = "or deploy to a cluster of your own: pulumi up -s homelab";

/** The lab cannot run here, `because`: one clause without a full stop. */
export function cannotRun(because: string): LabError {
  return new LabError(`${because}; ${INSTEAD}`);
}
