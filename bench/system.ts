import type { Target } from "./docker-client.ts";

/** A registry under test. */
export interface System {
  name: "homecloud" | "tutorial" | "no login";
  target: Target;
  /** Where its pod is. */
  namespace: string;
  selector: string;
  /** Deletes what the bench has pushed and frees its space. */
  wipe(): Promise<void>;
  /** Makes it forget which logins were right; absent where nothing is remembered. */
  forgetLogins?(): Promise<void>;
}
