import { RegistryError } from "../registry/client.ts";
import { type Criterion, fail, notMeasured, pass } from "./criterion.ts";
import { forgetImages } from "./forget.ts";
import { pullLogin } from "./puller.ts";
import type { Login, Run } from "./run.ts";

export const roles: Criterion = {
  id: "roles",
  title: "The pull-only user pulls and does not push",
  limit: "200 to pull, 403 DENIED to push",
  measure: async (run) => {
    const puller = await pullLogin(run);
    if (!puller) return notMeasured("no pull secret with its login in the cluster (registry.pullSecretNamespaces)");
    const pull = await answerTo(run, puller, "GET", "/v2/");
    if (pull !== "200") return fail(`${pull} to pull`, "the pull secrets hold another login: run pulumi up");
    const push = await answerTo(run, puller, "POST", `/v2/${run.repository}/blobs/uploads/`);
    // What was begun has made the repository.
    if (push === "202") run.leaves(`repository ${run.repository}`, () => forgetImages(run));
    if (push !== "403 DENIED") return fail(`${push} to push`, "whoever has a pull secret may replace your images");
    return pass(`${pull} to pull, ${push} to push`);
  },
};

/** The status, and the registry's code where it refuses. */
async function answerTo(run: Run, login: Login, method: "GET" | "POST", path: string): Promise<string> {
  const registry = await run.newRegistry(login);
  try {
    const { statusCode, body } = await registry.ask(method, path, {});
    await body.dump();
    return String(statusCode);
  } catch (error) {
    if (!(error instanceof RegistryError) || error.status === undefined) throw error;
    return [error.status, error.code].filter(Boolean).join(" ");
  }
}
