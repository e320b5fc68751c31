import { stripVTControlCharacters } from "node:util";

/** C0 without tab and newline, DEL, and C1: a terminal obeys them. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is these that are meant
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** Text as a terminal shows it and nothing more: images, archives and whoever answers for the registry put anything in theirs. */
export const plain = (text: string): string => stripVTControlCharacters(text).replaceAll(CONTROLS, "");

/** The same in one line, where more would look like lines of ours. */
export const plainLine = (text: string): string => plain(text).replaceAll(/\s+/g, " ");

/** JSON for a terminal or a script, with the same content: it escapes C0 itself. */
export const plainJson = (data: unknown): string =>
  JSON.stringify(data, null, 2).replaceAll(CONTROLS, (control) =>
    control === "\n" ? control : `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
