import { defineConfig } from "vitest/config";

const complete = { lines: 90, statements: 90, functions: 90, branches: 90 };

/** `npm test`: unit tests only. What needs real binaries or a cluster is run by scripts of its own. */
export default defineConfig({
  test: {
    include: ["tests/unit/**/*.test.ts"],
    // Half of the tests wait, for timers or other processes: the default leaves processors idle.
    maxWorkers: "100%",
    // bcrypt of cost 12 takes a quarter of a second for each user of a registry.
    testTimeout: 20_000,
    hookTimeout: 20_000,
    reporters: ["default", ["./tests/summary-reporter.ts", { timingsFile: "test-results/unit.json" }]],
    coverage: {
      provider: "v8",
      include: ["components/**/*.ts", "config/**/*.ts", "render/**/*.ts"],
      // Command lines: run by tests as processes of their own, where they are not counted.
      exclude: ["config/write-schema.ts", "render/cli.ts", "components/pihole/record.ts"],
      reporter: ["text"],
      thresholds: { "components/**": complete, "config/**": complete },
    },
  },
});
