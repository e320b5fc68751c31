// Asks for the buckets for as many seconds as it is told, and prints each time how many attempts the SDK needed.
import { ListBucketsCommand, S3Client } from "@aws-sdk/client-s3";

const seconds = Number(process.argv[2]);
const s3 = new S3Client();

const until = performance.now() + seconds * 1000;
while (performance.now() < until) {
  const { $metadata } = await s3.send(new ListBucketsCommand());
  console.log($metadata.attempts);
  await new Promise((resolve) => setTimeout(resolve, 100));
}
