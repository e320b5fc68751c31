/** A shell word that stands for exactly this text. */
export function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

export interface Wrapper {
  /** The program as unpacked. */
  program: string;
  /** Colon-separated folders with its libraries. */
  libraryPath: string;
  /** Arguments before the caller's. */
  args?: string[];
  /** Variables beside LD_LIBRARY_PATH. */
  env?: Record<string, string>;
}

/** A script that runs an unpacked program with its libraries, so that callers need to know nothing of them. */
export function renderWrapper({ program, libraryPath, args = [], env = {} }: Wrapper): string {
  const exports = Object.entries(env).map(([name, value]) => `export ${name}=${shellQuote(value)}\n`);
  return `#!/bin/sh
export LD_LIBRARY_PATH=${shellQuote(libraryPath)}"\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
${exports.join("")}exec ${[program, ...args].map(shellQuote).join(" ")} "$@"
`;
}
