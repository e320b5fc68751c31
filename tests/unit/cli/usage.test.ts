import { expect, test } from "vitest";
import { type TagBlobs, usageOf } from "../../../cli/registry/usage.ts";

const tag = (repository: string, name: string, blobs: Record<string, number>): TagBlobs => ({
  repository,
  tag: name,
  blobs: new Map(Object.entries(blobs)),
});

test("a layer that tags share is counted once, and freed by the last of them only", () => {
  const usage = usageOf([
    tag("app", "1", { base: 100, one: 10 }),
    tag("app", "2", { base: 100, two: 20 }),
    tag("tool", "1", { base: 100, tool: 5 }),
  ]);
  expect(usage).toEqual({
    total: 135,
    repositories: [
      {
        ...{ repository: "app", size: 130, frees: 30 },
        tags: [
          { tag: "1", size: 110, frees: 10 },
          { tag: "2", size: 120, frees: 20 },
        ],
      },
      { repository: "tool", size: 105, frees: 5, tags: [{ tag: "1", size: 105, frees: 5 }] },
    ],
  });
});

test("two tags of one image free nothing one by one, and all together", () => {
  const [repository] = usageOf([tag("app", "1", { image: 7 }), tag("app", "latest", { image: 7 })]).repositories;
  expect(repository).toMatchObject({ size: 7, frees: 7, tags: [{ frees: 0 }, { frees: 0 }] });
});

test("an empty registry needs nothing", () => {
  expect(usageOf([])).toEqual({ total: 0, repositories: [] });
});
