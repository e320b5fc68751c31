import { generateKeyPairSync } from "node:crypto";
import { describe, expect, test } from "vitest";
import { hostKeyProblem, privateKeyProblem, withoutComment } from "../../config/ssh.ts";
import { ED25519, NODE_KEY } from "./stacks.ts";

/** SSH's binary form: numbers in four bytes, texts behind their length. */
const wire = (...parts: (string | number)[]): Buffer =>
  Buffer.concat(
    parts.flatMap((part) => {
      const number = Buffer.alloc(4);
      number.writeUInt32BE(typeof part === "number" ? part : part.length);
      return typeof part === "number" ? [number] : [number, Buffer.from(part, "latin1")];
    }),
  );

const ecdsa = (bits: number, point: number) => {
  const type = `ecdsa-sha2-nistp${bits}`;
  return `${type} ${wire(type, `nistp${bits}`, "x".repeat(point)).toString("base64")}`;
};

describe("a host key", () => {
  test.each([
    ED25519,
    `${ED25519} root@server-1`,
    `${ED25519} two words\n`,
    `${ED25519} not ssh-rsa`,
    ecdsa(256, 65),
    ecdsa(384, 97),
    ecdsa(521, 133),
  ])("is %s", (key) => {
    expect(hostKeyProblem(key)).toBeUndefined();
  });

  test.each([
    ["nothing", ""],
    ["no key", "server-1"],
    ["a line of known_hosts", `192.168.1.10 ${ED25519}`],
    ["cut off", ED25519.slice(0, -4)],
    ["no base64", ED25519.replace("/N/", "/-/")],
    ["of another type inside", ED25519.replace("ssh-ed25519", "ecdsa-sha2-nistp256")],
    ["of no type inside", `ssh-ed25519 ${wire("ssh-ed2551X", "x".repeat(32)).toString("base64")}`],
    ["two keys", `${ED25519}\n${ED25519}`],
    ["DSA", `ssh-dss ${wire("ssh-dss", "x").toString("base64")}`],
    ["a private key", NODE_KEY],
  ])("is not what is %s", (_, key) => {
    expect(hostKeyProblem(key)).toMatch(/^a host key of type ssh-ed25519 .*ssh-keyscan -t ed25519 HOST/);
  });

  test.each(["ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB", "192.168.1.10 ssh-rsa AAAA"])(
    "of type RSA is asked for anew: %s",
    (key) => {
      expect(hostKeyProblem(key)).toMatch(/^the node's ed25519 or ecdsa key .*SHA-1/);
    },
  );

  test("is used without its comment", () => {
    expect(withoutComment(` ${ED25519} root@server-1\n`)).toBe(ED25519);
  });
});

/** What ssh-keygen writes. */
function openSsh(cipher: string, keys = 1, cut = 0): string {
  const fields = wire(cipher, cipher === "none" ? "none" : "bcrypt", "", keys, "public", "private");
  const bytes = Buffer.concat([Buffer.from("openssh-key-v1\0"), fields]);
  const body = bytes
    .subarray(0, bytes.length - cut)
    .toString("base64")
    .replaceAll(/.{70}/g, "$&\n");
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${body}\n-----END OPENSSH PRIVATE KEY-----\n`;
}

const pem = (type: "pkcs8" | "sec1", passphrase?: string) =>
  generateKeyPairSync("ec", { namedCurve: "P-256" })
    .privateKey.export({ format: "pem", type, ...(passphrase ? { cipher: "aes-256-cbc", passphrase } : {}) })
    .toString();

describe("a private key", () => {
  test.each([
    ["OpenSSH's", openSsh("none")],
    ["OpenSSH's from Windows", openSsh("none").replaceAll("\n", "\r\n")],
    ["PKCS#8", NODE_KEY],
    ["PKCS#8 without its last line end", NODE_KEY.trimEnd()],
    ["PEM of its own kind", pem("sec1")],
  ])("is %s", (_, key) => {
    expect(privateKeyProblem(key)).toBeUndefined();
  });

  test.each([
    ["OpenSSH's", openSsh("aes256-ctr")],
    ["PKCS#8", pem("pkcs8", "hunter2")],
    ["PEM of its own kind", pem("sec1", "hunter2")],
  ])("with a passphrase cannot be used: %s", (_, key) => {
    expect(privateKeyProblem(key)).toMatch(/^a private key without a passphrase .*SSH agent/);
  });

  test.each([
    ["nothing", ""],
    ["a path", "~/.ssh/id_ed25519"],
    ["a public key", ED25519],
    ["cut off before its end", NODE_KEY.slice(0, -30)],
    ["cut off inside", openSsh("none", 1, 8)],
    ["cut off early", openSsh("none", 1, 45)],
    ["two keys in one", openSsh("none", 2)],
    ["on one line", NODE_KEY.replaceAll("\n", " ")],
    ["no key inside", NODE_KEY.replace(/\n.+\n/, "\nAAAA\n")],
    ["no OpenSSH key inside", NODE_KEY.replaceAll(" PRIVATE", " OPENSSH PRIVATE")],
    [
      "of a kind that does not sign",
      generateKeyPairSync("x25519").privateKey.export({ format: "pem", type: "pkcs8" }).toString(),
    ],
  ])("is not what is %s", (_, key) => {
    expect(privateKeyProblem(key)).toMatch(
      /^a private key in OpenSSH's or PEM format, whole.* --secret nodeSshPrivateKey < FILE$/,
    );
  });
});
