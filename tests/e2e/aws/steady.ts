// Writes for as many seconds as it is told, one object after the other, and says how each went.
import { CreateBucketCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";

const [Bucket, seconds = "0"] = process.argv.slice(2);
const s3 = new S3Client();
await s3.send(new CreateBucketCommand({ Bucket }));
console.log("ready");

const until = performance.now() + Number(seconds) * 1000;
for (let count = 0; performance.now() < until; count++) {
  const begun = performance.now();
  const outcome = await s3.send(new PutObjectCommand({ Bucket, Key: `${count}`, Body: `${count}` })).then(
    ({ $metadata }) => ({ attempts: $metadata.attempts }),
    ({ name, message, $metadata }) => ({ name, message, attempts: $metadata?.attempts }),
  );
  console.log(JSON.stringify({ ...outcome, seconds: (performance.now() - begun) / 1000 }));
  await new Promise((resolve) => setTimeout(resolve, 100));
}
