import { readFile, writeFile } from "node:fs/promises";
import { settingsTable, stackFileSchema, withSettingsTable } from "./stack-schema.ts";

/** `npm run schema`: what editors check stack files by, and the README's table of settings, both from config/schema.ts. */
const schema = new URL("stack.schema.json", import.meta.url);
const readme = new URL("../README.md", import.meta.url);

await writeFile(schema, `${JSON.stringify(stackFileSchema(), null, 2)}\n`);
await writeFile(readme, withSettingsTable(await readFile(readme, "utf8"), settingsTable()));
console.log("config/stack.schema.json and the README's table of settings are written");
