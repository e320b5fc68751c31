import { stringify } from "yaml";
import { z } from "zod";
import { PROJECT } from "./project.ts";
import { configSchema, SECRET_KEYS, setCommand } from "./schema.ts";
import { settingName } from "./setting-name.ts";

/** A part of a JSON schema, as far as this file looks into it. */
interface SchemaPart {
  description?: string;
  default?: unknown;
  const?: unknown;
  properties?: Record<string, SchemaPart>;
  required?: string[];
  /** Of a list. */
  items?: SchemaPart;
  /** Of a record; false where there is nothing but the properties. */
  additionalProperties?: SchemaPart | false;
  oneOf?: SchemaPart[];
  /** Marked in config/schema.ts: a secret inside a group. */
  secret?: boolean;
  [keyword: string]: unknown;
}

/** Stands for the key of a record, all of which are hosts where they have settings below them. */
const MEMBER = "HOST";

/** One line of the table of settings. */
interface Row {
  key: string;
  default: string;
  what: string;
}

/** Draft 7: what the YAML language servers of editors know best. Read at their side, so: what a person may write. */
const configPart = (): SchemaPart => z.toJSONSchema(configSchema, { io: "input", target: "draft-7" }) as SchemaPart;

/** JSON schema of a `Pulumi.STACK.yaml`, for editors and tests. */
export function stackFileSchema(): SchemaPart {
  const { $schema, properties = {} } = configPart();
  const settings = Object.entries(properties).map(([key, part]) => [`${PROJECT}:${key}`, secured([key], part)]);
  return {
    $schema,
    title: `Stack of ${PROJECT}`,
    $comment: "Written by `npm run schema` from config/schema.ts. Changes made here are lost.",
    type: "object",
    properties: {
      config: {
        type: "object",
        properties: Object.fromEntries(settings),
        // Providers have settings of their own, such as `kubernetes:context`.
        patternProperties: { [`^(?!${PROJECT}:)[^:]+:.+$`]: {} },
        additionalProperties: false,
      },
      secretsprovider: { type: "string" },
      encryptionsalt: { type: "string" },
      encryptedkey: { type: "string" },
    },
    additionalProperties: false,
  };
}

/** In a stack file a secret stands encrypted, as `pulumi config set --secret` writes it. */
function secured(path: string[], part: SchemaPart): SchemaPart {
  const { properties, additionalProperties: member } = part;
  if ((SECRET_KEYS as readonly string[]).includes(path.join())) return encrypted(part, path.join());
  if (part.secret) return encrypted(part, `--path '${settingName(path).replace(`.${MEMBER}`, `["${MEMBER}"]`)}'`);
  return {
    ...part,
    ...(properties ? { properties: mapValues(properties, (name, inside) => secured([...path, name], inside)) } : {}),
    ...(member ? { additionalProperties: secured([...path, MEMBER], member) } : {}),
  };
}

const mapValues = (
  parts: Record<string, SchemaPart>,
  change: (name: string, part: SchemaPart) => SchemaPart,
): Record<string, SchemaPart> =>
  Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, change(name, part)]));

function encrypted({ description }: SchemaPart, argument: string): SchemaPart {
  return {
    description: `${description} Set it with: ${setCommand(argument)}`,
    type: "object",
    properties: { secure: { type: "string" } },
    required: ["secure"],
    additionalProperties: false,
  };
}

/** Markdown table of every setting: key, default, what it does. */
export function settingsTable(): string {
  const lines = rows([], configPart()).map((row) => `| \`${row.key}\` | ${row.default} | ${row.what} |`);
  return `${["| Setting | Default | What it does |", "| --- | --- | --- |", ...lines].join("\n")}\n`;
}

function rows(path: string[], part: SchemaPart): Row[] {
  return Object.entries(part.properties ?? {}).flatMap(([name, child]) => {
    const at = [...path, name];
    if (child.oneOf)
      return [modeRow(at, child, child.oneOf), ...child.oneOf.flatMap((option) => optionRows(at, option))];
    // What must stand in an optional group need not be set: the group may be left out.
    const group = "default" in child ? child : { ...child, required: [] };
    if (hasRows(child)) return rows(at, group);
    return [row(at, child, part.required?.includes(name) === true), ...memberRows(at, child)];
  });
}

const hasRows = ({ properties = {} }: SchemaPart): boolean =>
  Object.values(properties).some((part) => part.description || hasRows(part));

/** The rows of what stands in a list or a record. */
function memberRows(path: string[], { items, additionalProperties: member }: SchemaPart): Row[] {
  if (items && hasRows(items)) return rows([...path.slice(0, -1), `${path.at(-1)}[]`], items);
  return member && hasRows(member) ? rows([...path, MEMBER], member) : [];
}

/** Groups that need not be set: what they stand for as a whole is their defaults. */
const GROUPS = ["registry", "localstack"];

function row(path: string[], part: SchemaPart, isRequired: boolean): Row {
  const value = GROUPS.includes(path[0] ?? "") ? defaultAt(path) : part.default;
  const shown = value === undefined ? (isRequired ? "must be set" : "") : code(value);
  return { key: path.join("."), default: shown, what: String(part.description) };
}

/** The row of a union's `mode`. */
function modeRow(path: string[], union: SchemaPart, options: SchemaPart[]): Row {
  const modes = options.map((option) => code(option.properties?.mode?.const)).join(", ");
  const { mode } = union.default as { mode: string };
  return { key: `${path.join(".")}.mode`, default: code(mode), what: `${union.description} One of ${modes}.` };
}

/** The rows of the settings that a union has in one mode only. */
function optionRows(path: string[], option: SchemaPart): Row[] {
  const { mode, ...properties } = option.properties ?? {};
  return rows(path, { ...option, properties }).map((line) => ({
    ...line,
    what: `${line.what} Mode ${code(mode?.const)} only.`,
  }));
}

/** The default that the schema fills in, with everything below it. */
function defaultAt(path: string[]): unknown {
  return path.reduce((value, step) => (value as Record<string, unknown>)[step], configSchema.parse({}) as unknown);
}

/** A value as YAML on one line, as code. */
function code(value: unknown): string {
  return `\`${stringify(value, { collectionStyle: "flow", lineWidth: 0, flowCollectionPadding: false }).trim()}\``;
}

/** The README with this table between its marks. Throws where the marks are missing. */
export function withSettingsTable(readme: string, table: string): string {
  const marks = /(<!-- settings: npm run schema -->\n)[\s\S]*?(\n<!-- \/settings -->)/;
  if (!marks.test(readme)) throw new Error("README.md has no marks for the table of settings");
  return readme.replace(marks, (_, before: string, after: string) => `${before}${table.trimEnd()}${after}`);
}
