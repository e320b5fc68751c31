import { crc32 } from "node:zlib";

/** A zip archive of one file, not compressed. Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT */
export function zipOf(name: string, text: string): Buffer {
  const [file, content] = [Buffer.from(name), Buffer.from(text)];
  // Version 2.0, no flags, stored, midnight of 1980-01-01; checksum, both sizes, length of the name.
  const facts = Buffer.alloc(24);
  facts.writeUInt16LE(20, 0);
  facts.writeUInt16LE(0x21, 8);
  facts.writeUInt32LE(crc32(content), 10);
  facts.writeUInt32LE(content.length, 14);
  facts.writeUInt32LE(content.length, 18);
  facts.writeUInt16LE(file.length, 22);
  const local = Buffer.concat([Buffer.from("PK\x03\x04"), facts, Buffer.alloc(2), file, content]);
  // Made by version 2.0; no further fields; attributes, and where the file begins.
  const entry = Buffer.concat([Buffer.from("PK\x01\x02\x14\x00"), facts, Buffer.alloc(16), file]);
  // 0o100644 as Unix has it: functions run as somebody else, who has to read it.
  entry.writeUInt32LE(0o100644 * 2 ** 16, 38);
  entry[5] = 3;
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06");
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(entry.length, 12);
  end.writeUInt32LE(local.length, 16);
  return Buffer.concat([local, entry, end]);
}
