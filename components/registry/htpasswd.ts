import { encodeBase64, hashSync } from "bcryptjs";

/** bcrypt's cost: paid once in five minutes and user, so it may be high (a quarter of a second). */
const COST = 12;

/** A user of the registry. */
export interface RegistryUser {
  name: string;
  password: string;
  /** 16 random bytes, base64. Kept in state, because a fresh salt each run would replace the Secret each time. */
  salt: string;
}

/** htpasswd file with one bcrypt line a user; `$2y$` is the prefix that htpasswd writes and every crypt(3) knows. */
export function renderHtpasswd(users: RegistryUser[]): string {
  return users.map(({ name, password, salt }) => `${name}:${hash(password, salt)}\n`).join("");
}

function hash(password: string, salt: string): string {
  const bytes = Buffer.from(salt, "base64");
  if (bytes.length !== 16) throw new Error("a bcrypt salt has 16 bytes");
  return hashSync(password, `$2b$${COST}$${encodeBase64(bytes, 16)}`).replace(/^\$2b\$/, "$2y$");
}
