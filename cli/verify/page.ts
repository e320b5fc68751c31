import { CATALOG_LIMIT } from "../../components/registry/distribution.ts";
import { pageAddress } from "./addresses.ts";
import { type Criterion, fail, needed, notMeasured, pass, seconds } from "./criterion.ts";

/** Seconds until the last image is in the list. */
const LIMIT = 5;

export const page: Criterion = {
  id: "page",
  title: "The web page, and its list of every image",
  limit: `every image within ${LIMIT} s`,
  measure: async (run) => {
    const address = await pageAddress(run);
    if (!address) return notMeasured("there is no web page (registryUi.enabled: false)");
    await needed("a push", run.smallImage());
    const { user, password } = await run.registryAccess();
    const { url, ca } = address;
    const begun = performance.now();
    const shown = await run.ask(url, { ca });
    if (shown.status !== 200 || !/<html/i.test(shown.text)) return fail(`${shown.status} for the page`, HINT);
    // As the page asks: once, for all of it.
    const list = await run.ask(new URL(`/v2/_catalog?n=${CATALOG_LIMIT}`, url), { ca, login: { user, password } });
    const took = performance.now() - begun;
    if (list.status !== 200) return fail(`${list.status} for the list`, HINT);
    const { repositories } = JSON.parse(list.text) as { repositories: string[] };
    const listed = new Set(repositories);
    const all = await (await run.registry()).repositories();
    const unlisted = all.filter((repository) => !listed.has(repository));
    // Another one may have been pushed since the list was asked for; this one was there before.
    if (!listed.has(run.repository)) return fail(`${unlisted.length} of ${all.length} are not in the list`, HINT);
    const measured = `${listed.size} repositories in ${seconds(took)}`;
    return took < LIMIT * 1000 ? pass(measured) : fail(measured, "docs/registry-ui.md#a-slow-list");
  },
};

const HINT = "docs/registry-ui.md#when-something-is-wrong";
