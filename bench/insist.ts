import { setTimeout as sleep } from "node:timers/promises";

/** Does it again until it works; after three minutes its last error is thrown. */
export async function insist(work: () => Promise<void>): Promise<void> {
  const end = Date.now() + 180_000;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (Date.now() > end) throw error;
      await sleep(5_000);
    }
  }
}
