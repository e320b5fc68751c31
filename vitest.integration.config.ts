import { defineConfig } from "vitest/config";

/** The rendered files under the real registry and the real nginx, as processes of this machine. */
export default defineConfig({
  test: {
    include: ["tests/integration/**/*.test.ts"],
    // One pod after the other: the tests measure time.
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 900_000,
  },
});
