// Makes a bucket, and URLs by which somebody without an SDK puts an object into it and gets it.
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const object = { Bucket: process.argv[2], Key: "letters/to ada.txt" };
const s3 = new S3Client();
await s3.send(new CreateBucketCommand({ Bucket: object.Bucket }));

const put = await getSignedUrl(s3, new PutObjectCommand(object), { expiresIn: 300 });
const get = await getSignedUrl(s3, new GetObjectCommand(object), { expiresIn: 300 });
console.log(JSON.stringify({ put, get }));
