import { type Criterion, fail, pass, seconds } from "./criterion.ts";
import { LARGE, LIMIT, megabytes, PATIENCE, TooSlow } from "./large.ts";

export const push: Criterion = {
  id: "push",
  title: `A push of ${megabytes(LARGE)}`,
  limit: `under ${LIMIT} s`,
  patience: PATIENCE,
  measure: async (run) => {
    try {
      const { took } = await run.largeImage();
      return pass(`${megabytes(LARGE)} in ${seconds(took)}`);
    } catch (error) {
      if (error instanceof TooSlow) return fail(error.message, SLOW);
      throw error;
    }
  },
};

export const SLOW =
  "is the network slow (Wi-Fi?), the disk, or the registry short of processor? docs/performance.md says how to tell";
