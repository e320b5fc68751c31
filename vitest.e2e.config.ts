import { defineConfig } from "vitest/config";

/** A lab of the tests' own: a person's keeps its data. KEEP_LAB=1 with that person's state tests on a lab that runs. */
process.env.HOMECLOUD_STATE ??= "/var/lib/homecloud-e2e";

const limits = { testTimeout: 180_000, hookTimeout: 600_000 };

/** Files with nodes, or a stack, of their own that no other file notices. */
const UNNOTICED = "tests/e2e/{node-trust*,fleet,pulumi,cli-docker,cli-images,cli-rotate}.test.ts";
/** Files that measure time or memory without a cluster. */
const MEASURES = "tests/integration/{login,memory,quota}.test.ts";

/** Everything that needs built programs or a cluster. `tests/integration` runs as any user, `tests/e2e` needs root. */
export default defineConfig({
  test: {
    globalSetup: ["tests/e2e/setup.ts"],
    reporters: ["default", ["./tests/summary-reporter.ts", { timingsFile: "test-results/e2e.json" }]],
    projects: [
      {
        test: {
          ...{ ...limits, name: "beside one another", include: ["tests/integration/**/*.test.ts", UNNOTICED] },
          exclude: [MEASURES],
          // They wait far more than they compute: one by one they would take 45 minutes.
          maxWorkers: 3,
          sequence: { groupOrder: 0 },
        },
      },
      {
        // Some stop the cluster, some name themselves in its DNS, some measure.
        test: {
          ...{ ...limits, name: "alone", include: ["tests/e2e/**/*.test.ts", MEASURES], exclude: [UNNOTICED] },
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
