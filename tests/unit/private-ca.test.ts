import * as pulumi from "@pulumi/pulumi";
import { beforeEach, describe, expect, test } from "vitest";
import { PrivateCa } from "../../components/private-ca.ts";
import { Engine, isMarkedSecret, settled } from "./mocks.ts";

const YEAR = 365 * 24;

let engine: Engine;

beforeEach(async () => {
  engine = await Engine.start();
});

describe("the authority", () => {
  test("lives ten years, renewed in the last third of them, and signs nothing but certificates", async () => {
    new PrivateCa("ca", { commonName: "homecloud private CA" });
    await pulumi.runtime.disconnect();

    expect(engine.find("SelfSignedCert", "ca-certificate").inputs).toMatchObject({
      isCaCertificate: true,
      validityPeriodHours: 10 * YEAR,
      earlyRenewalHours: (10 * YEAR) / 3,
      allowedUses: ["cert_signing", "crl_signing"],
      subject: { commonName: "homecloud private CA", organization: "homecloud" },
    });
  });

  test("its certificate is no secret, its key is", async () => {
    const ca = new PrivateCa("ca", { commonName: "homecloud private CA" });
    const { privateKey } = ca.issue("registry", ["registry.homelab.local"]);
    await pulumi.runtime.disconnect();

    expect(await settled(ca.certificate)).toBe("CERTIFICATE ca-certificate");
    expect(await pulumi.isSecret(ca.certificate)).toBe(false);
    expect(await pulumi.isSecret(privateKey)).toBe(true);
    expect(isMarkedSecret(engine.find("SelfSignedCert", "ca-certificate").marked.privateKeyPem)).toBe(true);
    expect(isMarkedSecret(engine.find("LocallySignedCert", "registry-certificate").marked.caPrivateKeyPem)).toBe(true);
  });
});

describe("a server certificate", () => {
  test("lives a year, less than what Apple's clients allow, and is renewed in the last third of it", async () => {
    new PrivateCa("ca", { commonName: "CA" }).issue("registry", ["registry.homelab.local"]);
    await pulumi.runtime.disconnect();

    const { inputs } = engine.find("LocallySignedCert", "registry-certificate");
    expect(inputs).toMatchObject({
      validityPeriodHours: YEAR,
      earlyRenewalHours: YEAR / 3,
      allowedUses: ["digital_signature", "server_auth"],
      caCertPem: "CERTIFICATE ca-certificate",
      certRequestPem: "REQUEST registry-request",
    });
    expect(inputs.validityPeriodHours).toBeLessThan(825 * 24);
    expect(inputs.isCaCertificate).toBeUndefined();
  });

  test("tells names from addresses; the first is its common name", async () => {
    new PrivateCa("ca", { commonName: "CA" }).issue("registry", ["127.0.0.1", "localhost", "::1", "*.s3.lab"]);
    await pulumi.runtime.disconnect();

    expect(engine.find("CertRequest", "registry-request").inputs).toMatchObject({
      subject: { commonName: "127.0.0.1" },
      dnsNames: ["localhost", "*.s3.lab"],
      ipAddresses: ["127.0.0.1", "::1"],
    });
  });

  test("has a key of its own, on a curve that every client knows", async () => {
    new PrivateCa("ca", { commonName: "CA" }).issue("registry", ["a.lab"]);
    await pulumi.runtime.disconnect();

    expect(engine.names("PrivateKey")).toEqual(["ca-key", "registry-key"]);
    for (const { inputs } of engine.all("PrivateKey"))
      expect(inputs).toMatchObject({ algorithm: "ECDSA", ecdsaCurve: "P256" });
  });

  test("without a name carries the resource's", async () => {
    new PrivateCa("ca", { commonName: "CA" }).issue("registry", []);
    await pulumi.runtime.disconnect();

    expect(engine.find("CertRequest", "registry-request").inputs.subject.commonName).toBe("registry");
  });
});

describe("the next generation", () => {
  test("has a name and a key of its own; the one before stays as it was", async () => {
    new PrivateCa("ca", { commonName: "homecloud private CA", generation: 2 });
    await pulumi.runtime.disconnect();

    expect(engine.find("SelfSignedCert", "ca-certificate").inputs.subject.commonName).toBe("homecloud private CA");
    expect(engine.find("SelfSignedCert", "ca-certificate-2").inputs).toMatchObject({
      privateKeyPem: "PRIVATE KEY ca-key-2",
      subject: { commonName: "homecloud private CA 2" },
    });
  });

  test("is signed by the one before too, and servers send that along", async () => {
    const ca = new PrivateCa("ca", { commonName: "homecloud private CA", generation: 3 });
    const { certificate } = ca.issue("registry", ["registry.homelab.local"]);
    await pulumi.runtime.disconnect();

    expect(engine.names("SelfSignedCert")).toEqual(["ca-certificate-2", "ca-certificate-3"]);
    expect(engine.find("LocallySignedCert", "ca-cross-signed-3").inputs).toMatchObject({
      isCaCertificate: true,
      certRequestPem: "REQUEST ca-cross-signed-3-request",
      caPrivateKeyPem: "PRIVATE KEY ca-key-2",
      caCertPem: "CERTIFICATE ca-certificate-2",
      allowedUses: ["cert_signing", "crl_signing"],
    });
    // A chain leads on by the subject: the request says the same name as the self-signed certificate.
    expect(engine.find("CertRequest", "ca-cross-signed-3-request").inputs.subject).toEqual(
      engine.find("SelfSignedCert", "ca-certificate-3").inputs.subject,
    );
    expect(await settled(ca.certificate)).toBe("CERTIFICATE ca-certificate-3");
    expect(await settled(certificate)).toBe("CERTIFICATE registry-certificateCERTIFICATE ca-cross-signed-3");
    expect(engine.find("LocallySignedCert", "registry-certificate").inputs.caPrivateKeyPem).toBe(
      "PRIVATE KEY ca-key-3",
    );
  });
});
