import type * as bcrypt from "bcryptjs";

/**
 * bcryptjs that hashes a password with a salt once and then remembers: cost 12 takes a quarter of a second, and a test file
 * deploys the same users dozens of times. Another password or salt is hashed anew, with another cost where one is given:
 * for files whose promises are not about hashes.
 */
export function once(real: typeof bcrypt, cost?: string): typeof bcrypt {
  const hashSync = (password: string, salt?: number | string) =>
    real.hashSync(password, cost === undefined ? salt : String(salt).replace("$12$", `$${cost}$`));
  return { ...real, hashSync: remember(hashSync), compareSync: remember(real.compareSync) };
}

function remember<A, B, R>(work: (a: A, b: B) => R): (a: A, b: B) => R {
  const results = new Map<string, R>();
  return (a, b) => {
    const key = JSON.stringify([a, b]);
    const result = results.get(key) ?? work(a, b);
    results.set(key, result);
    return result;
  };
}
