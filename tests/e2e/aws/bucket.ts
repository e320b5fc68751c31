import { randomBytes } from "node:crypto";
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";

const Bucket = process.argv[2];
const content = randomBytes(1_000_000);
const s3 = new S3Client();

await s3.send(new CreateBucketCommand({ Bucket }));
await s3.send(new PutObjectCommand({ Bucket, Key: "photos/2026/cat.jpg", Body: content, ContentType: "image/jpeg" }));
const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: "photos/" }));
const { Body, ContentType } = await s3.send(new GetObjectCommand({ Bucket, Key: "photos/2026/cat.jpg" }));

const bytes = await Body?.transformToByteArray();
console.log(`${Contents?.map(({ Key, Size }) => `${Key} ${Size}`)}; ${ContentType}`);
console.log(content.equals(bytes ?? Buffer.alloc(0)) ? "equal" : "not equal");
