import { isIP } from "node:net";
import * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";

const YEAR = 365 * 24;
/** Ten years, in hours. */
const CA_VALIDITY = 10 * YEAR;
/** A year, in hours: Apple's clients refuse certificates that live longer than 825 days. */
const CERTIFICATE_VALIDITY = YEAR;

/** A certificate and its key, PEM. */
export interface IssuedCertificate {
  certificate: pulumi.Output<string>;
  /** Secret. */
  privateKey: pulumi.Output<string>;
  /** When it expires, as RFC 3339 has it. */
  expires: pulumi.Output<string>;
}

/** A CA of one generation. */
interface Authority {
  subject: { commonName: string; organization: string };
  key: tls.PrivateKey;
  certificate: tls.SelfSignedCert;
}

export interface PrivateCaArgs {
  /** Name of the first generation; later ones append their number. */
  commonName: string;
  /** From 1 on. Defaults to 1. */
  generation?: number;
}

/**
 * A certificate authority of one's own, for names that no public one issues for. Every `pulumi up` in the last third of a
 * certificate's life renews it. The generation before signs the current one too, and servers send that along: whoever
 * trusts the former CA goes on, so that nothing needs to change at the same moment.
 */
export class PrivateCa extends pulumi.ComponentResource {
  /** The CA's certificate, PEM, for everybody who is to trust what it issues. */
  readonly certificate: pulumi.Output<string>;
  private readonly current: Authority;
  /** The current CA's certificate as the former one signs it. */
  private readonly crossSigned: tls.LocallySignedCert | undefined;

  constructor(name: string, args: PrivateCaArgs, opts?: pulumi.ComponentResourceOptions) {
    super("homecloud:index:PrivateCa", name, {}, opts);
    const generation = args.generation ?? 1;
    this.current = this.authority(name, args.commonName, generation);
    if (generation > 1) {
      const former = this.authority(name, args.commonName, generation - 1);
      this.crossSigned = this.crossSign(`${name}-cross-signed-${generation}`, former);
    }
    this.certificate = this.current.certificate.certPem;
    this.registerOutputs({ certificate: this.certificate });
  }

  private authority(name: string, commonName: string, generation: number): Authority {
    const suffix = generation === 1 ? "" : `-${generation}`;
    const subject = { commonName: suffix ? `${commonName} ${generation}` : commonName, organization: "homecloud" };
    const key = new tls.PrivateKey(
      `${name}-key${suffix}`,
      { algorithm: "ECDSA", ecdsaCurve: "P256" },
      { parent: this },
    );
    const certificate = new tls.SelfSignedCert(
      `${name}-certificate${suffix}`,
      {
        privateKeyPem: key.privateKeyPem,
        isCaCertificate: true,
        validityPeriodHours: CA_VALIDITY,
        earlyRenewalHours: CA_VALIDITY / 3,
        allowedUses: ["cert_signing", "crl_signing"],
        subject,
      },
      { parent: this },
    );
    return { subject, key, certificate };
  }

  private crossSign(name: string, former: Authority): tls.LocallySignedCert {
    const { subject, key } = this.current;
    const request = new tls.CertRequest(
      `${name}-request`,
      { privateKeyPem: key.privateKeyPem, subject },
      { parent: this },
    );
    return new tls.LocallySignedCert(
      name,
      {
        certRequestPem: request.certRequestPem,
        caPrivateKeyPem: former.key.privateKeyPem,
        caCertPem: former.certificate.certPem,
        isCaCertificate: true,
        validityPeriodHours: CA_VALIDITY,
        earlyRenewalHours: CA_VALIDITY / 3,
        allowedUses: ["cert_signing", "crl_signing"],
      },
      { parent: this },
    );
  }

  /**
   * A server certificate for these names and addresses, the first of which is its common name; behind it, what leads to the
   * former CA.
   */
  issue(name: string, names: string[], opts: pulumi.CustomResourceOptions = { parent: this }): IssuedCertificate {
    const key = new tls.PrivateKey(`${name}-key`, { algorithm: "ECDSA", ecdsaCurve: "P256" }, opts);
    const request = new tls.CertRequest(
      `${name}-request`,
      {
        privateKeyPem: key.privateKeyPem,
        // X.509 allows 64 characters here; what clients look at are the names below.
        subject: { commonName: names.find((host) => host.length <= 64) ?? name, organization: "homecloud" },
        dnsNames: names.filter((host) => isIP(host) === 0),
        ipAddresses: names.filter((host) => isIP(host) !== 0),
      },
      opts,
    );
    const certificate = new tls.LocallySignedCert(
      `${name}-certificate`,
      {
        certRequestPem: request.certRequestPem,
        caPrivateKeyPem: this.current.key.privateKeyPem,
        caCertPem: this.certificate,
        validityPeriodHours: CERTIFICATE_VALIDITY,
        earlyRenewalHours: CERTIFICATE_VALIDITY / 3,
        allowedUses: ["digital_signature", "server_auth"],
      },
      opts,
    );
    const chain = this.crossSigned
      ? pulumi.interpolate`${certificate.certPem}${this.crossSigned.certPem}`
      : certificate.certPem;
    return { certificate: chain, privateKey: key.privateKeyPem, expires: certificate.validityEndTime };
  }
}
