import { expect, test } from "vitest";
import { UserError } from "../../../cli/errors.ts";
import { parseReference } from "../../../cli/registry/reference.ts";

const HOST = "registry.homelab.local";
const DIGEST = `sha256:${"0a".repeat(32)}`;

test.each([
  ["app", { repository: "app", tag: undefined, digest: undefined }],
  ["team/app:1.2", { repository: "team/app", tag: "1.2", digest: undefined }],
  [`${HOST}/team/app:1.2`, { repository: "team/app", tag: "1.2", digest: undefined }],
  [`team/app@${DIGEST}`, { repository: "team/app", tag: undefined, digest: DIGEST }],
  [`team/app:1@${DIGEST}`, { repository: "team/app", tag: "1", digest: DIGEST }],
  ["a__b/c-d--e.f:_x", { repository: "a__b/c-d--e.f", tag: "_x", digest: undefined }],
])("%s", (text, reference) => {
  expect(parseReference(text, HOST)).toEqual(reference);
});

test("a host with a port is no tag", () => {
  expect(parseReference("127.0.0.1:30500/app:1", "127.0.0.1:30500")).toMatchObject({ repository: "app", tag: "1" });
});

test.each([
  "",
  "App",
  "app:",
  "app:-x",
  "/app",
  "app/",
  "app@sha256:12",
  "app..b",
  "ghcr.io:443/app",
  "a b",
  "app:1:2",
])("%j is refused in one sentence that says what is allowed", (text) => {
  expect(() => parseReference(text, HOST)).toThrow(UserError);
  expect(() => parseReference(text, HOST)).toThrow(/^.* is no image of registry\.homelab\.local: allowed is REPO/);
});
