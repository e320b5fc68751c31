import { table } from "../table.ts";
import type { Row } from "./measure.ts";

/** The table for a person, and below it what to do about each failure. */
export function renderReport(rows: Row[]): string {
  const cells = rows.map((row) => [row.id, row.measured, row.limit, verdict(row)]);
  const hints = rows.flatMap(({ id, passed, hint }) => (passed === false && hint ? [`${id}: ${hint}`] : []));
  return [table(["CRITERION", "MEASURED", "LIMIT", ""], cells), ...(hints.length > 0 ? ["", ...hints] : [])].join("\n");
}

const verdict = ({ passed }: Row): string => (passed === undefined ? "-" : passed ? "pass" : "FAIL");

/** The same for scripts. */
export function reportForScripts(rows: Row[]) {
  return {
    passed: rows.every(({ passed }) => passed !== false),
    criteria: rows.map(({ id, title, limit, measured, passed, hint }) => ({
      ...{ id, title, limit, measured, passed: passed ?? null },
      ...(hint ? { hint } : {}),
    })),
  };
}
