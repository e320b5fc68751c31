import { defineConfig } from "vitest/config";

/** A lab of the tests' own: a person's keeps its data. KEEP_LAB=1 with that person's state tests on a lab that runs. */
process.env.HOMECLOUD_STATE ??= "/var/lib/homecloud-e2e";

/** Everything that needs built programs or a cluster. `tests/integration` runs as any user, `tests/e2e` needs root. */
export default defineConfig({
  test: {
    include: ["tests/integration/**/*.test.ts", "tests/e2e/**/*.test.ts"],
    globalSetup: ["tests/e2e/setup.ts"],
    // One after the other: there is one cluster, and some tests measure time.
    fileParallelism: false,
    testTimeout: 180_000,
    hookTimeout: 600_000,
    reporters: ["default", "./tests/summary-reporter.ts"],
  },
});
