import { readdir } from "node:fs/promises";
import { PULL_SECRET } from "../components/known-names.ts";
import { runCommand } from "./command.ts";
import { type Deployment, deployLocalStack } from "./deploy/deploy.ts";
import { writeIfChanged } from "./files.ts";
import { type Lab, startLab, trustRegistry } from "./lab.ts";
import { inCache, inState } from "./paths.ts";

const caFile = inState("ca", "ca.crt");
const awsFile = inState("aws.env");

/** `npm start`: the lab, the local stack on it, and what a person needs to use it. */
await runCommand(async () => {
  const lab = await startLab();
  const deployment = await deployLocalStack(lab);
  const { registryHost, registryUrl, caCertificate, awsEnvFile } = deployment.outputs;
  await writeIfChanged(caFile, caCertificate);
  await writeIfChanged(awsFile, `${awsEnvFile}AWS_CA_BUNDLE=${caFile}\nNODE_EXTRA_CA_CERTS=${caFile}\n`);
  await trustRegistry(registryHost, { server: registryUrl, ca: caCertificate });
  console.log(summary(deployment, lab, await anyImage()));
});

/** A folder of its own: clients that take a folder of CAs read every file in it. */
function caFolder(): string {
  return inState("ca");
}

function summary({ outputs, engine }: Deployment, { kubeconfig, bin }: Lab, archive: string): string {
  const { registryHost: host, registryUrl: url, registryUser: user, registryPassword: password } = outputs;
  const login = `${user}:${password}`;
  const image = `${host}/hello/busybox:1.37`;
  const pullSecret = `'{"spec":{"imagePullSecrets":[{"name":"${PULL_SECRET}"}]}}'`;
  return `
The registry and LocalStack are up${engine === "pulumi" ? "" : " (there is no Pulumi engine here: the program's render was applied)"}.

  address     ${url}
  login       ${user}
  password    ${password}
  CA file     ${caFile}
  AWS         ${outputs.localstackEndpoint} (S3, SQS, SNS, DynamoDB; forgets with its pod here)
  kubeconfig  ${kubeconfig}

Four commands to try: push an image, list what is there, run a pod from it, make a bucket with the AWS CLI.

  ${bin("skopeo")} copy --dest-cert-dir ${caFolder()} --dest-creds ${login} docker-archive:${archive} docker://${image}

  curl --cacert ${caFile} --user ${login} ${url}/v2/_catalog

  ${bin("kubectl")} --kubeconfig ${kubeconfig} run hello --rm -it --restart=Never --image=${image} --overrides=${pullSecret} -- echo hello from your registry

  (set -a; . ${awsFile}; aws --endpoint-url "$AWS_ENDPOINT_URL" s3 mb s3://hello)

npm stop ends it and keeps the data; npm stop -- --delete removes everything.`;
}

/** The archive of an image that the lab has made anyway. */
async function anyImage(): Promise<string> {
  const name = (await readdir(inCache("images"))).find((file) => file.includes("busybox") && file.endsWith(".tar"));
  return inCache("images", name ?? "busybox.tar");
}
