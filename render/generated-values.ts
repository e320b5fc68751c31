import { randomBytes } from "node:crypto";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Passwords, salts, keys and certificates that an engine would make once and keep in its state. Without an engine they are
 * kept in this file, readable by its owner only.
 */
export class GeneratedValues {
  private readonly path: string;
  private readonly values: Record<string, Record<string, unknown>>;

  private constructor(path: string, values: Record<string, Record<string, unknown>>) {
    this.path = path;
    this.values = values;
  }

  static async open(path: string): Promise<GeneratedValues> {
    const text = await readFile(path, "utf8").catch(() => "{}");
    return new GeneratedValues(path, JSON.parse(text));
  }

  /** The value kept under this key, or a new one where there is none, or where it is no longer good. */
  async keep<T extends Record<string, unknown>>(
    key: string,
    make: () => T | Promise<T>,
    isGood: (kept: T) => boolean = () => true,
  ): Promise<T> {
    const kept = this.values[key] as T | undefined;
    if (kept && isGood(kept)) return kept;
    const made = await make();
    this.values[key] = made;
    return made;
  }

  async save(): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true });
    await writeFile(this.path, `${JSON.stringify(this.values, null, 2)}\n`, { mode: 0o600 });
    await chmod(this.path, 0o600);
  }
}

/** A password of letters and digits, without the bias that a plain remainder would have. */
export function randomPassword(length: number): string {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  let password = "";
  while (password.length < length) {
    for (const byte of randomBytes(length)) {
      if (byte < 248 && password.length < length) password += alphabet[byte % alphabet.length];
    }
  }
  return password;
}
