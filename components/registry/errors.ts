import { quote } from "../nginx.ts";

/**
 * An error in the form that registry clients print, quoted for nginx.
 * Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
 */
export function registryErrorJson(code: string, message: string): string {
  return quote(JSON.stringify({ errors: [{ code, message }] }));
}
