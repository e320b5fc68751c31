import { lookup } from "node:dns/promises";
import { addressesOf } from "./addresses.ts";
import { type Criterion, fail, pass } from "./criterion.ts";

export const names: Criterion = {
  id: "names",
  title: "Every name, as this machine resolves it",
  limit: "all resolve",
  measure: async (run) => {
    const hosts = new Set((await addressesOf(run)).map(({ url }) => url.hostname.replaceAll(/[[\]]/g, "")));
    const answers = await Promise.all(
      [...hosts].map((host) =>
        lookup(host).then(
          () => undefined,
          ({ code }: NodeJS.ErrnoException) => `${host}: ${code}`,
        ),
      ),
    );
    const unknown = answers.filter((answer) => answer !== undefined);
    if (unknown.length > 0) return fail(unknown.join(", "), "the names this machine's DNS has to know: docs/dns.md");
    return pass(`${hosts.size} of ${hosts.size}`);
  },
};
