import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { describe, test } from "vitest";

/** Parts that no package registry carries: tests of theirs run where they are on PATH, and are skipped elsewhere. */
const OPTIONAL = {
  pulumi: {
    programs: [
      "pulumi",
      "pulumi-language-nodejs",
      "pulumi-resource-kubernetes",
      "pulumi-resource-random",
      "pulumi-resource-tls",
      "pulumi-resource-command",
    ],
    reason: "there is no Pulumi engine with its plugins on PATH",
  },
  "localstack-persist": {
    programs: ["localstack-persist.tar"],
    reason: "there is no image archive localstack-persist.tar (gresau/localstack-persist:4.14.0) on PATH",
  },
  "registry-ui": {
    programs: ["docker-registry-ui.tar"],
    reason: "there is no image archive docker-registry-ui.tar (joxit/docker-registry-ui:2.6.0) on PATH",
  },
  conformance: {
    programs: ["oci-conformance"],
    reason: "there is no oci-conformance (the conformance tests of opencontainers/distribution-spec) on PATH",
  },
} as const;

export type OptionalPart = keyof typeof OPTIONAL;

/** Reasons for which a test may be skipped. Any other skip fails the run. */
export const SKIP_REASONS: readonly string[] = Object.values(OPTIONAL).map(({ reason }) => reason);

/** Tests that need a part. Skipped with its reason where it is missing, failed where REQUIRE names it. */
export function describeWith(part: OptionalPart, name: string, tests: () => void): void {
  const { programs, reason } = OPTIONAL[part];
  if (programs.every(isOnPath)) describe(name, tests);
  else if ((process.env.REQUIRE ?? "").split(",").includes(part)) {
    test(name, () => {
      throw new Error(`${reason}, and REQUIRE=${process.env.REQUIRE} asks for it`);
    });
  } else test(name, ({ skip }) => skip(reason));
}

/** Where a program of a part is. Throws where it is not on PATH. */
export function pathOf(program: string): string {
  const found = onPath(program);
  if (!found) throw new Error(`${program} is not on PATH`);
  return found;
}

export const isOnPath = (program: string): boolean => onPath(program) !== undefined;

function onPath(program: string): string | undefined {
  const candidates = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, program));
  return candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
