import type { webcrypto } from "node:crypto";
// x509 asks for it to be there first.
import "reflect-metadata";
import * as x509 from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** A private key, PEM. */
export async function makeKey(): Promise<string> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  return x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY");
}

/** What a certificate is to say. */
export interface CertificateRequest {
  keyPem: string;
  commonName: string;
  dnsNames: string[];
  ipAddresses: string[];
  validityHours: number;
  /** Whether it may sign others. Defaults to false: a server's. */
  isCa?: boolean;
}

/** A self-signed CA certificate, PEM. */
export async function makeCaCertificate(request: CertificateRequest): Promise<string> {
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: subject(request.commonName),
    ...validity(request.validityHours),
    keys: await keyPair(request.keyPem),
    signingAlgorithm: ALGORITHM,
    extensions: caExtensions(),
  });
  return certificate.toString("pem");
}

const caExtensions = (): x509.Extension[] => [
  new x509.BasicConstraintsExtension(true, undefined, true),
  new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
];

function serverExtensions({ dnsNames, ipAddresses }: CertificateRequest): x509.Extension[] {
  const names = [
    ...dnsNames.map((value) => ({ type: "dns" as const, value })),
    ...ipAddresses.map((value) => ({ type: "ip" as const, value })),
  ];
  return [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
    new x509.SubjectAlternativeNameExtension(names),
  ];
}

/** A certificate that this CA signs, PEM. */
export async function makeCertificate(
  request: CertificateRequest,
  ca: { keyPem: string; certPem: string },
): Promise<string> {
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: subject(request.commonName),
    issuer: new x509.X509Certificate(ca.certPem).subject,
    ...validity(request.validityHours),
    publicKey: (await keyPair(request.keyPem)).publicKey,
    signingKey: (await keyPair(ca.keyPem)).privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: request.isCa ? caExtensions() : serverExtensions(request),
  });
  return certificate.toString("pem");
}

/** Whether the certificate is still in the first two thirds of its life, after which it is renewed. */
export function isFresh(certPem: string, now = new Date()): boolean {
  const { notBefore, notAfter } = new x509.X509Certificate(certPem);
  const renewAt = notAfter.getTime() - (notAfter.getTime() - notBefore.getTime()) / 3;
  return now.getTime() < renewAt;
}

const subject = (commonName: string) => `CN=${commonName}, O=homecloud`;

function validity(hours: number): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return { notBefore: new Date(now - 60_000), notAfter: new Date(now + hours * 3_600_000) };
}

/** Positive and random, as RFC 5280 wants it: the first byte stays below 0x80. */
function serialNumber(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = (bytes[0] ?? 0) & 0x7f;
  return Buffer.from(bytes).toString("hex");
}

async function keyPair(keyPem: string): Promise<webcrypto.CryptoKeyPair> {
  const pkcs8 = x509.PemConverter.decodeFirst(keyPem);
  const privateKey = await crypto.subtle.importKey("pkcs8", pkcs8, ALGORITHM, true, ["sign"]);
  const { d: _, key_ops: __, ...jwk } = await crypto.subtle.exportKey("jwk", privateKey);
  const publicKey = await crypto.subtle.importKey("jwk", { ...jwk, key_ops: ["verify"] }, ALGORITHM, true, ["verify"]);
  return { privateKey, publicKey };
}
