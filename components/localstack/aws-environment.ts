import type { LocalStackSettings, TlsSettings } from "../../config/settings.ts";
import { endpointUrl, s3EndpointUrl } from "./urls.ts";

/**
 * What every AWS SDK and the CLI read. LocalStack checks no key; a number of twelve digits as the key would choose that
 * account instead of 000000000000.
 */
export function awsEnvironment(settings: LocalStackSettings, tls: TlsSettings): Record<string, string> {
  return {
    AWS_ENDPOINT_URL: endpointUrl(settings, tls),
    AWS_ENDPOINT_URL_S3: s3EndpointUrl(settings, tls),
    AWS_REGION: settings.region,
    // The CLI and Python read this name only.
    AWS_DEFAULT_REGION: settings.region,
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: "test",
  };
}

/** The same as a .env file. No value needs quotes. */
export function envFile(environment: Record<string, string>): string {
  return Object.entries(environment)
    .map(([name, value]) => `${name}=${value}\n`)
    .join("");
}
