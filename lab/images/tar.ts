/** An entry of a tar archive. Paths are relative and without a trailing slash. */
export type TarEntry = { path: string; mode?: number; owner?: number } & (
  | { content: Uint8Array | string }
  | { linkTo: string }
  | { folder: true }
);

const BLOCK = 512;

/** A ustar archive that depends on nothing but the entries: no times, no names of users. */
export function tar(entries: readonly TarEntry[]): Buffer {
  const blocks = onceEach(entries).flatMap((entry) => {
    const content = "content" in entry ? Buffer.from(entry.content) : Buffer.alloc(0);
    const padding = Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK);
    return [header(entry, content.length), content, padding];
  });
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}

/** Parts of an image share folders, and Docker refuses an archive that has one twice. */
function onceEach(entries: readonly TarEntry[]): TarEntry[] {
  return [...new Map(entries.map((entry) => [entry.path, entry])).values()];
}

function header(entry: TarEntry, size: number): Buffer {
  const folder = "folder" in entry;
  const path = folder ? `${entry.path}/` : entry.path;
  const link = "linkTo" in entry ? entry.linkTo : "";
  for (const text of [path, link])
    if (Buffer.byteLength(text) > 100) throw new Error(`too long for this tar writer: ${text}`);
  const block = Buffer.alloc(BLOCK);
  block.write(path, 0);
  block.write(octal(entry.mode ?? (folder ? 0o755 : 0o644), 8), 100);
  block.write(octal(entry.owner ?? 0, 8), 108);
  block.write(octal(entry.owner ?? 0, 8), 116);
  block.write(octal(size, 12), 124);
  block.write(octal(0, 12), 136);
  block.write(folder ? "5" : link ? "2" : "0", 156);
  block.write(link, 157);
  block.write("ustar\u000000", 257);
  block.write(checksum(block), 148);
  return block;
}

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, "0")}\0`;
}

/** The sum of the header's bytes, its own field counted as spaces. */
function checksum(block: Buffer): string {
  const sum = block.reduce((total, byte) => total + byte, 8 * 0x20);
  return `${sum.toString(8).padStart(6, "0")}\0 `;
}
