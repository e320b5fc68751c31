import { randomBytes, X509Certificate } from "node:crypto";
import type * as pulumi from "@pulumi/pulumi";
import { isFresh, makeCaCertificate, makeCertificate, makeKey } from "./certificates.ts";
import { type GeneratedValues, randomPassword } from "./generated-values.ts";

/** A resource as the program asked for it, secrets still marked. */
export interface Registered {
  type: string;
  name: string;
  inputs: Record<string, unknown>;
}

type State = Record<string, unknown>;
type Inputs = Record<string, never> & Record<string, unknown>;

/**
 * Stands in for the engine: records what the program registers, and makes what the random and tls providers would make,
 * once, so that a second run yields the same.
 */
export class MockEngine implements pulumi.runtime.Mocks {
  readonly registered: Registered[] = [];
  private readonly generated: GeneratedValues;

  constructor(generated: GeneratedValues) {
    this.generated = generated;
  }

  call(args: pulumi.runtime.MockCallArgs): State {
    throw new Error(`the render answers no provider function: ${args.token}`);
  }

  async newResource({ type, name, inputs }: pulumi.runtime.MockResourceArgs): Promise<{ id: string; state: State }> {
    this.registered.push({ type, name, inputs });
    const state = { ...inputs, ...(await this.outputs(type, name, plain(inputs) as Inputs)) };
    return { id: name, state };
  }

  private outputs(type: string, name: string, inputs: Inputs): Promise<State> | State {
    const key = `${type}::${name}`;
    switch (type) {
      case "random:index/randomPassword:RandomPassword":
        return this.generated.keep(key, () => ({ result: randomPassword(Number(inputs.length)) }));
      case "random:index/randomBytes:RandomBytes":
        return this.generated.keep(key, () => ({ base64: randomBytes(Number(inputs.length)).toString("base64") }));
      case "tls:index/privateKey:PrivateKey":
        return this.generated.keep(key, async () => ({ privateKeyPem: await makeKey() }));
      case "tls:index/certRequest:CertRequest":
        return { certRequestPem: JSON.stringify(inputs) };
      case "tls:index/selfSignedCert:SelfSignedCert":
        return this.certificate(key, inputs, () => makeCaCertificate(request(inputs, inputs.validityPeriodHours)));
      case "tls:index/locallySignedCert:LocallySignedCert":
        return this.certificate(key, inputs, () =>
          makeCertificate(
            {
              ...request(JSON.parse(String(inputs.certRequestPem)), inputs.validityPeriodHours),
              isCa: inputs.isCaCertificate === true,
            },
            { keyPem: String(inputs.caPrivateKeyPem), certPem: String(inputs.caCertPem) },
          ),
        );
      default:
        return {};
    }
  }

  /** A certificate is made anew when what it says has changed, or in the last third of its life. */
  private async certificate(key: string, inputs: Inputs, make: () => Promise<string>): Promise<State> {
    const asked = JSON.stringify(inputs);
    const kept = await this.generated.keep(
      key,
      async () => ({ asked, certPem: await make() }),
      (old) => old.asked === asked && isFresh(old.certPem),
    );
    // As the provider's ends: a chain is one after the other.
    return {
      certPem: `${kept.certPem.trimEnd()}\n`,
      validityEndTime: new X509Certificate(kept.certPem).validToDate.toISOString(),
    };
  }
}

function request(inputs: Inputs, validityHours: unknown) {
  return {
    keyPem: String(inputs.privateKeyPem),
    commonName: String((inputs.subject as { commonName?: string } | undefined)?.commonName),
    dnsNames: (inputs.dnsNames as string[] | undefined) ?? [],
    ipAddresses: (inputs.ipAddresses as string[] | undefined) ?? [],
    validityHours: Number(validityHours),
  };
}

/** Key by which the SDK marks special values; with this value, a secret. */
const MARK = "4dabf18193072939515e22adb298388d";
const SECRET = "1b47061264138c4ac30d75fd1eb44270";

/** The inputs with secrets in the clear, or replaced. */
export function plain(value: unknown, replaceSecret?: string): unknown {
  if (Array.isArray(value)) return value.map((item) => plain(item, replaceSecret));
  if (typeof value !== "object" || value === null) return value;
  const fields = value as Record<string, unknown>;
  if (fields[MARK] === SECRET)
    return replaceSecret === undefined ? plain(fields.value) : leftOut(fields.value, replaceSecret);
  return Object.fromEntries(Object.entries(fields).map(([key, item]) => [key, plain(item, replaceSecret)]));
}

/** The shape of a secret without its content: which keys a Secret has is no secret. */
function leftOut(value: unknown, replacement: string): unknown {
  if (typeof value !== "object" || value === null) return replacement;
  return Object.fromEntries(Object.keys(value).map((key) => [key, replacement]));
}
