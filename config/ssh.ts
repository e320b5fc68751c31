import { createPrivateKey } from "node:crypto";

/** Types of host keys that Pulumi's provider and today's sshd agree on, and how long such a key is, in bytes. */
const HOST_KEYS: Record<string, number> = {
  "ssh-ed25519": 51,
  "ecdsa-sha2-nistp256": 104,
  "ecdsa-sha2-nistp384": 136,
  "ecdsa-sha2-nistp521": 172,
};

const HOST_KEY =
  "a host key of type ssh-ed25519 or ecdsa-sha2-nistp256, 384 or 521, whole and without a host name before it: " +
  "ssh-ed25519 AAAA… (ssh-keyscan -t ed25519 HOST)";
const NO_RSA =
  "the node's ed25519 or ecdsa key (ssh-keyscan -t ed25519,ecdsa HOST): Pulumi's provider would ask for signatures of type " +
  "ssh-rsa, which are SHA-1's, and today's sshd makes none";
const PRIVATE_KEY =
  "a private key in OpenSSH's or PEM format, whole. Set it with: pulumi config set --secret nodeSshPrivateKey < FILE";
const NO_PASSPHRASE =
  "a private key without a passphrase (ssh-keygen -p -f FILE takes it off a copy), or none: the SSH agent's is used";

/** What a host key has to be, where this is none that can be used. A comment behind it is fine. */
export function hostKeyProblem(text: string): string | undefined {
  const [, type = "", body = ""] = /^(\S+) ([A-Za-z0-9+/]+={0,2})( .*)?$/.exec(text.trim()) ?? [];
  if (/^(\S+ )?ssh-rsa\b/.test(text)) return NO_RSA;
  const key = Buffer.from(body, "base64");
  return key.length === HOST_KEYS[type] && new Reader(key).text() === type ? undefined : HOST_KEY;
}

/** A host key without the comment behind it. */
export const withoutComment = (hostKey: string): string => hostKey.trim().split(" ").slice(0, 2).join(" ");

/** What a private key has to be, where this is none that can be used as it is. */
export function privateKeyProblem(text: string): string | undefined {
  const [, kind, body = ""] =
    /^-----BEGIN ([A-Z ]*)PRIVATE KEY-----$(.+)^-----END \1PRIVATE KEY-----$/ms.exec(unix(text)) ?? [];
  if (kind === "OPENSSH ") return openSshProblem(Buffer.from(body, "base64"));
  if (kind === "ENCRYPTED " || body.includes("ENCRYPTED")) return NO_PASSPHRASE;
  return kind !== undefined && isPem(text) ? undefined : PRIVATE_KEY;
}

const unix = (text: string): string => text.replaceAll("\r\n", "\n");

function isPem(text: string): boolean {
  try {
    return ["rsa", "ec", "ed25519"].includes(createPrivateKey(text).asymmetricKeyType ?? "");
  } catch {
    return false;
  }
}

/** Source: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key */
function openSshProblem(key: Buffer): string | undefined {
  const magic = "openssh-key-v1\0";
  if (key.subarray(0, magic.length).toString() !== magic) return PRIVATE_KEY;
  const reader = new Reader(key.subarray(magic.length));
  const [cipher, _kdf, _options] = [reader.text(), reader.text(), reader.text()];
  if (cipher !== "none") return cipher ? NO_PASSPHRASE : PRIVATE_KEY;
  const [keys, _public, secret] = [reader.number(), reader.text(), reader.text()];
  return keys === 1 && secret && reader.isAtEnd() ? undefined : PRIVATE_KEY;
}

/** Reads SSH's binary form: numbers of four bytes, and texts behind their length. Past the end there is nothing. */
class Reader {
  private offset = 0;
  private readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  number(): number {
    const found = this.offset + 4 <= this.bytes.length ? this.bytes.readUInt32BE(this.offset) : 0;
    this.offset += 4;
    return found;
  }

  text(): string {
    const length = this.number();
    const found = this.bytes.subarray(this.offset, this.offset + length).toString("latin1");
    this.offset += length;
    return found;
  }

  isAtEnd(): boolean {
    return this.offset === this.bytes.length;
  }
}
