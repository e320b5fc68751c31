// Uploads as many bytes as it is told, in parts, downloads them, and compares digests. It holds neither in memory.
import { createHash, type Hash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { CreateBucketCommand, DeleteObjectCommand, GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";

const [Bucket = "", size = "0"] = process.argv.slice(2);
const object = { Bucket, Key: "backup.tar" };
const s3 = new S3Client();
await s3.send(new CreateBucketCommand({ Bucket }));

const sent = createHash("sha256");
const uploading = performance.now();
const upload = new Upload({ client: s3, params: { ...object, Body: Readable.from(content(Number(size), sent)) } });
await upload.done();
const downloading = performance.now();
const received = createHash("sha256");
const { Body, ContentLength } = await s3.send(new GetObjectCommand(object));
for await (const chunk of Body as Readable) received.update(chunk);
const ended = performance.now();
await s3.send(new DeleteObjectCommand(object));

const seconds = (from: number, to: number) => Number(((to - from) / 1000).toFixed(1));
console.log(
  JSON.stringify({
    bytes: ContentLength,
    equal: sent.digest("hex") === received.digest("hex"),
    uploadSeconds: seconds(uploading, downloading),
    downloadSeconds: seconds(downloading, ended),
  }),
);

function* content(bytes: number, hash: Hash): Generator<Buffer> {
  const piece = randomBytes(1 << 20);
  for (let at = 0; at < bytes; at += piece.length) {
    // No two pieces are the same.
    piece.writeDoubleBE(at);
    const copy = Buffer.from(piece.subarray(0, Math.min(piece.length, bytes - at)));
    hash.update(copy);
    yield copy;
  }
}
