import { Agent } from "node:https";
import type { LocalStackAccess } from "../deployment.ts";
import type { Run } from "./run.ts";

/** What every client of the SDK is made with. */
export interface Aws {
  options: {
    endpoint: string;
    region: string;
    credentials: { accessKeyId: string; secretAccessKey: string };
    maxAttempts: number;
    requestHandler: { httpsAgent: Agent; connectionTimeout: number; requestTimeout: number };
  };
  s3Endpoint: string;
  end(): void;
}

/** As a program that was given the deployment's settings, and trusts its CA. */
export function awsOf({ endpoint, region, environment, ca }: LocalStackAccess): Aws {
  const httpsAgent = new Agent({ keepAlive: true, ...(ca ? { ca } : {}) });
  const credentials = {
    accessKeyId: environment.AWS_ACCESS_KEY_ID ?? "test",
    secretAccessKey: environment.AWS_SECRET_ACCESS_KEY ?? "test",
  };
  const requestHandler = { httpsAgent, connectionTimeout: 5000, requestTimeout: 60_000 };
  return {
    options: { endpoint, region, credentials, maxAttempts: 2, requestHandler },
    s3Endpoint: environment.AWS_ENDPOINT_URL_S3 ?? endpoint,
    end: () => httpsAgent.destroy(),
  };
}

/** What LocalStack's container is told by its environment: what it can, and what it keeps. */
export async function localstackEnvironment({ kube, deployment }: Run): Promise<Map<string, string | undefined>> {
  const { namespace = "" } = deployment.localstack ?? {};
  const name = "localstack";
  const found = await kube.ask(`the Deployment ${name}`, kube.apps.readNamespacedDeployment({ name, namespace }));
  const container = found?.spec?.template.spec?.containers.find((each) => each.name === name);
  return new Map(container?.env?.map((variable) => [variable.name, variable.value]));
}

export const NO_LOCALSTACK = "there is no LocalStack (localstack.enabled: false)";
