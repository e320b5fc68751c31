import { RegistryError } from "../registry/client.ts";
import { type Criterion, fail, pass } from "./criterion.ts";

export const missing: Criterion = {
  id: "missing",
  title: "An image that is not there is said not to be there",
  limit: "404 MANIFEST_UNKNOWN or NAME_UNKNOWN",
  measure: async (run) => {
    const registry = await run.registry();
    const answer = await registry.manifest(run.repository, "none").catch((error: unknown) => error);
    if (!(answer instanceof RegistryError)) return fail("200");
    const { status, code } = answer;
    if (status === undefined) throw answer;
    const said = `${status} ${code ?? "without a code"}`;
    const right = status === 404 && ["MANIFEST_UNKNOWN", "NAME_UNKNOWN"].includes(code ?? "");
    return right ? pass(said) : fail(said, "clients cannot tell a missing image from a broken registry");
  },
};
