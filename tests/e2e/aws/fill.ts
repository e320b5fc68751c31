// Puts objects of 16 MiB into a bucket until it may not.
import { CreateBucketCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";

const Bucket = process.argv[2];
const s3 = new S3Client();
await s3.send(new CreateBucketCommand({ Bucket }));

for (let count = 0; count < 100; count++) {
  try {
    await s3.send(new PutObjectCommand({ Bucket, Key: `${count}`, Body: Buffer.alloc(16 << 20) }));
  } catch (thrown) {
    const { name, message, $metadata } = thrown as Error & { $metadata?: object };
    console.log(JSON.stringify({ count, name, message, ...$metadata }));
    break;
  }
}
