import { createRequire } from "node:module";

const load = createRequire(import.meta.url);

/** A package that is read when it is first used: neither help nor most completions need it, and they are to answer at once. */
export const later =
  <Package>(name: string): (() => Package) =>
  () =>
    load(name);
