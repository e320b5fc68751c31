import { defineConfig } from "vitest/config";

/** A lab of the tests' own: a person's keeps its data. KEEP_LAB=1 with that person's state tests on a lab that runs. */
process.env.HOMECLOUD_STATE ??= "/var/lib/homecloud-e2e";

/** For what hangs: several times what a busy machine needs. */
const limits = { testTimeout: 600_000, hookTimeout: 900_000 };

/**
 * What stops the cluster, or compares times or memory: nothing may run beside it. And what restarts LocalStack again and
 * again: beside others each start takes minutes, and of the pod's events, which localstack-pods reads, kubelet drops all but
 * 25 in five minutes.
 */
const ALONE = [
  "tests/e2e/{reboot,registry-ui,cli-backup,localstack-lambda,localstack-pods,localstack-survival}.test.ts",
  "tests/integration/{login,memory,quota}.test.ts",
];

/**
 * Everything that needs built programs or a cluster. `tests/integration` runs as any user, `tests/e2e` needs root. Every file
 * has names, ports, nodes and stacks of its own, so that files run beside one another unless they are in ALONE.
 */
export default defineConfig({
  test: {
    globalSetup: ["tests/e2e/setup.ts"],
    reporters: ["default", ["./tests/summary-reporter.ts", { timingsFile: "test-results/e2e.json" }]],
    projects: [
      {
        test: {
          ...{ ...limits, name: "beside one another" },
          include: ["tests/integration/**/*.test.ts", "tests/e2e/**/*.test.ts"],
          exclude: ALONE,
          maxWorkers: 3,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: { ...{ ...limits, name: "alone" }, include: ALONE, maxWorkers: 1, sequence: { groupOrder: 1 } },
      },
    ],
  },
});
