import { readFile } from "node:fs/promises";
import * as pulumi from "@pulumi/pulumi";
import ts from "typescript";
import { expect, test, vi } from "vitest";
import { rawConfig, SHAPES } from "./stacks.ts";
import { Engine } from "./mocks.ts";

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

test("the stack's outputs are the fields of Outputs, and README lists each of them", async () => {
  await Engine.start();
  const { values } = rawConfig(SHAPES["ingress, private CA"]);
  pulumi.runtime.setAllConfig(values);

  const exported: Record<string, unknown> = await import("../../index.ts");
  await pulumi.runtime.disconnect();

  // The engine takes a default export in place of named ones, and fails where there are both.
  expect(Object.keys(exported)).toEqual(["default"]);
  const outputs = Object.keys(exported.default as object).sort();
  expect(outputs).toEqual(fieldsOf("Outputs", await root("program.ts")).sort());
  const table = /^## Outputs$(.*?)^## /ms.exec(await root("README.md"))?.[1] ?? "";
  const rows = table.split("\n").filter((line) => line.startsWith("| `"));
  const listed = rows.flatMap((row) => [...(row.split("|")[1] ?? "").matchAll(/`(\w+)`/g)].map(([, name]) => name));
  expect(listed.sort()).toEqual(outputs);
});
