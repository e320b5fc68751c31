import { expect, test } from "vitest";
import { parseBytes } from "../../config/quantity.ts";

test.each([
  ["0", 0],
  ["1024", 1024],
  ["1k", 1_000],
  ["512Mi", 512 * 2 ** 20],
  ["30Gi", 30 * 2 ** 30],
  ["1.5Gi", 1.5 * 2 ** 30],
  ["2G", 2_000_000_000],
  ["1T", 1e12],
  ["1Ti", 2 ** 40],
])("%s is an amount of bytes", (text, bytes) => {
  expect(parseBytes(text)).toBe(bytes);
});

test.each(["", "lots", "30 Gi", "30gi", "30K", "30GiB", "-1Gi", "1e3", "100m", ".5Gi", "1.Gi", "Gi"])(
  "%j is none",
  (text) => {
    expect(parseBytes(text)).toBeUndefined();
  },
);
