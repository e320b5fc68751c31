import { PREFIX, type Run } from "./run.ts";

export interface Bucket {
  put(key: string, body: Buffer): Promise<void>;
  get(key: string): Promise<Buffer>;
  list(): Promise<string[]>;
}

/** The run's bucket, made if need be. It goes again at the end, with all that is in it. */
export async function makeBucket(run: Run): Promise<Bucket> {
  // Loaded when it is needed: the SDK would make every other command start later.
  const { CreateBucketCommand, GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } = await import(
    "@aws-sdk/client-s3"
  );
  const { options, s3Endpoint } = await run.aws();
  const s3 = new S3Client({ ...options, endpoint: s3Endpoint });
  const Bucket = PREFIX + run.name;
  // In us-east-1 it is no error where it is there already.
  await s3.send(new CreateBucketCommand({ Bucket })).catch(alreadyOurs);
  run.leaves(`bucket ${Bucket}`, () => removeBucket(run, Bucket));
  return {
    put: async (Key, Body) => void (await s3.send(new PutObjectCommand({ Bucket, Key, Body }))),
    get: async (Key) => {
      const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }));
      return Buffer.from((await Body?.transformToByteArray()) ?? []);
    },
    list: async () => {
      const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket }));
      return Contents.map(({ Key = "" }) => Key);
    },
  };
}

function alreadyOurs(error: Error): void {
  if (error.name !== "BucketAlreadyOwnedByYou") throw error;
}

export async function removeBucket(run: Run, Bucket: string): Promise<void> {
  const { DeleteBucketCommand, DeleteObjectCommand, ListObjectsV2Command, S3Client } = await import(
    "@aws-sdk/client-s3"
  );
  const { options, s3Endpoint } = await run.aws();
  const s3 = new S3Client({ ...options, endpoint: s3Endpoint });
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket }));
  for (const { Key } of Contents) await s3.send(new DeleteObjectCommand({ Bucket, Key }));
  await s3.send(new DeleteBucketCommand({ Bucket }));
}
