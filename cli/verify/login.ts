import { type Criterion, fail, pass } from "./criterion.ts";
import type { Answer } from "./run.ts";

export const login: Criterion = {
  id: "login",
  title: "Nobody gets in without the login",
  limit: "401, asking for one login",
  measure: async (run) => {
    const { url, user, password, ca } = await run.registryAccess();
    const ping = new URL("/v2/", url);
    const strangers: [string, Answer][] = [
      ["without a login", await run.ask(ping, { ca })],
      ["with a wrong one", await run.ask(ping, { ca, login: { user, password: "wrong" } })],
    ];
    for (const [who, { status, headers }] of strangers) {
      const challenges = [headers["www-authenticate"] ?? []].flat();
      if (status !== 401) return fail(`${status} ${who}`, "whoever reaches the registry may be in it");
      if (challenges.length !== 1 || !/^Basic /.test(challenges[0] ?? "")) {
        return fail(`401 ${who} with ${challenges.length} WWW-Authenticate`, "clients do not know how to log in");
      }
    }
    const { status } = await run.ask(ping, { ca, login: { user, password } });
    if (status !== 200) return fail(`${status} with the right login`, "the cluster's Secret has another: pulumi up");
    return pass("401 without, 401 with a wrong one, 200 with it");
  },
};
