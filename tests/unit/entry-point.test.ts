import { readFile } from "node:fs/promises";
import * as pulumi from "@pulumi/pulumi";
import ts from "typescript";
import { expect, test, vi } from "vitest";
import { Engine } from "./mocks.ts";
import { ED25519, NODE_KEY, rawConfig, SHAPES, type StackConfig } from "./stacks.ts";

vi.mock(import("../../cluster/check.ts"), async (original) => ({
  ...(await original()),
  checkCluster: () => Promise.resolve({}),
}));
vi.mock(import("bcryptjs"), async (original) => (await import("./bcrypt-once.ts")).once(await original(), "04"));

const root = (path: string) => readFile(new URL(`../../${path}`, import.meta.url), "utf8");

/** The names of an interface's fields, in source text. */
function fieldsOf(name: string, source: string): string[] {
  const file = ts.createSourceFile("program.ts", source, ts.ScriptTarget.Latest);
  const found = file.statements.find((each) => ts.isInterfaceDeclaration(each) && each.name.text === name);
  if (!found || !ts.isInterfaceDeclaration(found)) throw new Error(`there is no interface ${name}`);
  return found.members.map((member) => (member.name as ts.Identifier).text);
}

/** A stack that has every output. */
const EVERYTHING: StackConfig = {
  ...SHAPES["ingress, private CA"],
  nodeSshPrivateKey: NODE_KEY,
  nodeTrust: { nodes: [{ name: "k3s-1", host: "192.168.1.11", hostKey: ED25519 }] },
};

/** What a stack with this configuration exports. */
async function outputsOf(config: StackConfig): Promise<string[]> {
  await Engine.start();
  const { values, secretKeys } = rawConfig(config);
  pulumi.runtime.setAllConfig(values);
  vi.stubEnv("PULUMI_CONFIG_SECRET_KEYS", JSON.stringify(secretKeys));
  vi.resetModules();
  const exported: Record<string, unknown> = await import("../../index.ts");
  await pulumi.runtime.disconnect();
  // The engine takes a default export in place of named ones, and fails where there are both.
  expect(Object.keys(exported)).toEqual(["default"]);
  return Object.keys(exported.default as object).sort();
}

test("the stack's outputs are the fields of Outputs", async () => {
  expect(await outputsOf(EVERYTHING)).toEqual(fieldsOf("Outputs", await root("program.ts")).sort());
});

test("README lists each of them, and no other", async () => {
  const table = /^## Outputs$(.*?)^## /ms.exec(await root("README.md"))?.[1] ?? "";
  const rows = table.split("\n").filter((line) => line.startsWith("| `"));
  const listed = rows.flatMap((row) => [...(row.split("|")[1] ?? "").matchAll(/`(\w+)`/g)].map(([, name]) => name));
  expect(listed.sort()).toEqual(fieldsOf("Outputs", await root("program.ts")).sort());
});

test("an output that a stack does not have is not exported: the engine would warn of it at every run", async () => {
  const outputs = await outputsOf(SHAPES["node port, no TLS"]);
  expect(outputs).toContain("registryUrl");
  expect(outputs).not.toContain("caCertificate");
  expect(outputs).not.toContain("trustedNodes");
});
