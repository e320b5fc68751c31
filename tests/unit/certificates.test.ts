import { createPrivateKey, X509Certificate } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { isFresh, makeCaCertificate, makeCertificate, makeKey } from "../../render/certificates.ts";

const YEAR = 365 * 24;
const HOUR = 3_600_000;

let caPem: string;
let serverPem: string;
let serverKey: string;

beforeAll(async () => {
  const caKey = await makeKey();
  const nobody = { dnsNames: [], ipAddresses: [] };
  caPem = await makeCaCertificate({ keyPem: caKey, commonName: "test CA", validityHours: 10 * YEAR, ...nobody });
  serverKey = await makeKey();
  serverPem = await makeCertificate(
    {
      keyPem: serverKey,
      commonName: "127.0.0.1",
      dnsNames: ["localhost", "*.s3.lab"],
      ipAddresses: ["127.0.0.1", "fd00::10"],
      validityHours: YEAR,
    },
    { keyPem: caKey, certPem: caPem },
  );
});

describe("the CA's certificate", () => {
  test("is a CA's, signed by itself, for ten years", () => {
    const ca = new X509Certificate(caPem);

    expect(ca.ca).toBe(true);
    expect(ca.subject).toContain("CN=test CA");
    expect(ca.checkIssued(ca)).toBe(true);
    expect(ca.verify(ca.publicKey)).toBe(true);
    expect(lifetimeHours(ca)).toBeCloseTo(10 * YEAR, 0);
  });
});

describe("a server's certificate", () => {
  test("is signed by the CA, for a year, and is no CA's", () => {
    const [ca, server] = [new X509Certificate(caPem), new X509Certificate(serverPem)];

    expect(server.ca).toBe(false);
    expect(server.checkIssued(ca)).toBe(true);
    expect(server.verify(ca.publicKey)).toBe(true);
    expect(lifetimeHours(server)).toBeCloseTo(YEAR, 0);
    expect(new Date(server.validFrom).getTime()).toBeLessThan(Date.now());
  });

  test("carries every name and address, and no other", () => {
    const server = new X509Certificate(serverPem);

    expect(server.checkHost("localhost")).toBe("localhost");
    expect(server.checkHost("bucket.s3.lab")).toBe("*.s3.lab");
    expect(server.checkHost("registry.lab")).toBeUndefined();
    expect(server.checkIP("127.0.0.1")).toBe("127.0.0.1");
    expect(server.checkIP("fd00::10")).toBe("fd00::10");
    expect(server.checkIP("192.168.1.1")).toBeUndefined();
  });

  test("is for servers only, and belongs to its key", () => {
    const server = new X509Certificate(serverPem);

    expect(server.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
    expect(server.checkPrivateKey(createPrivateKey(serverKey))).toBe(true);
  });

  test("has a positive serial number of its own", () => {
    const serials = [caPem, serverPem].map((pem) => new X509Certificate(pem).serialNumber);

    expect(new Set(serials).size).toBe(2);
    for (const serial of serials) expect(serial).toMatch(/^[0-7]?[0-9A-F]{1,31}$/);
  });
});

test("a certificate is fresh for two thirds of its life", () => {
  const after = (hours: number) => new Date(Date.now() + hours * HOUR);

  expect(isFresh(serverPem)).toBe(true);
  expect(isFresh(serverPem, after((YEAR * 2) / 3 - 24))).toBe(true);
  expect(isFresh(serverPem, after((YEAR * 2) / 3 + 24))).toBe(false);
  expect(isFresh(serverPem, after(2 * YEAR))).toBe(false);
});

const lifetimeHours = (certificate: X509Certificate) =>
  (new Date(certificate.validTo).getTime() - new Date(certificate.validFrom).getTime()) / HOUR;
