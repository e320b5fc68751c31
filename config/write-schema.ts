import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { settingsTable, stackFileSchema } from "./stack-schema.ts";

const USAGE = `Writes config/stack.schema.json, by which editors complete and check Pulumi.STACK.yaml.

  npm run schema [-- --table]

  --table   print the README's table of settings instead`;

const { values } = parseArgs({
  options: { table: { type: "boolean", default: false }, help: { type: "boolean", default: false } },
});

if (values.help) console.log(USAGE);
else if (values.table) process.stdout.write(settingsTable());
else await writeSchema(new URL("stack.schema.json", import.meta.url));

async function writeSchema(path: URL): Promise<void> {
  await writeFile(path, `${JSON.stringify(stackFileSchema(), null, 2)}\n`);
  console.log("config/stack.schema.json is written");
}
