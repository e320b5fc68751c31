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
}

/**
 * A certificate authority of one's own, for names that no public one issues for. Every `pulumi up` in the last third of a
 * certificate's life renews it.
 */
export class PrivateCa extends pulumi.ComponentResource {
  /** The CA's certificate, PEM, for everybody who is to trust what it issues. */
  readonly certificate: pulumi.Output<string>;
  private readonly key: tls.PrivateKey;

  constructor(name: string, args: { commonName: string }, opts?: pulumi.ComponentResourceOptions) {
    super("homecloud:index:PrivateCa", name, {}, opts);
    this.key = new tls.PrivateKey(`${name}-key`, { algorithm: "ECDSA", ecdsaCurve: "P256" }, { parent: this });
    const authority = new tls.SelfSignedCert(
      `${name}-certificate`,
      {
        privateKeyPem: this.key.privateKeyPem,
        isCaCertificate: true,
        validityPeriodHours: CA_VALIDITY,
        earlyRenewalHours: CA_VALIDITY / 3,
        allowedUses: ["cert_signing", "crl_signing"],
        subject: { commonName: args.commonName, organization: "homecloud" },
      },
      { parent: this },
    );
    this.certificate = authority.certPem;
    this.registerOutputs({ certificate: this.certificate });
  }

  /** A server certificate for these names and addresses; the first is its common name. */
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
        caPrivateKeyPem: this.key.privateKeyPem,
        caCertPem: this.certificate,
        validityPeriodHours: CERTIFICATE_VALIDITY,
        earlyRenewalHours: CERTIFICATE_VALIDITY / 3,
        allowedUses: ["digital_signature", "server_auth"],
      },
      opts,
    );
    return { certificate: certificate.certPem, privateKey: key.privateKeyPem };
  }
}
