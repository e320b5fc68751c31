// As many programs have it: one endpoint, given in the code, for S3 too.
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";

const [endpoint = "", Bucket] = process.argv.slice(2);
const s3 = new S3Client({ endpoint });

await s3.send(new CreateBucketCommand({ Bucket }));
await s3.send(new PutObjectCommand({ Bucket, Key: "greeting.txt", Body: "hello" }));
const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key: "greeting.txt" }));
console.log(await Body?.transformToString());
