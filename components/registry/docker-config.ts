/** Docker's config.json with one login, as `docker login` writes it and pull secrets hold it. */
export function dockerConfigJson(host: string, user: string, password: string): string {
  const auth = Buffer.from(`${user}:${password}`).toString("base64");
  return JSON.stringify({ auths: { [host]: { username: user, password, auth } } });
}
