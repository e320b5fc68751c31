import { isIP } from "node:net";
import { PREFIX, type Run } from "./run.ts";

/** An address that clients use, and by which CA its certificate is known where that is a private one's. */
export interface Address {
  url: URL;
  ca: string | undefined;
}

/** Every address of the deployment, a bucket's among them. */
export async function addressesOf(run: Run): Promise<Address[]> {
  const { url, ca } = await run.registryAccess();
  const page = await pageAddress(run);
  return [{ url: new URL(url), ca }, ...(await localstackAddresses(run)), ...(page ? [page] : [])];
}

async function localstackAddresses(run: Run): Promise<Address[]> {
  if (!run.deployment.localstack) return [];
  const { endpoint, environment, ca } = await run.localstackAccess();
  const s3 = new URL(environment.AWS_ENDPOINT_URL_S3 ?? endpoint);
  const bucket = new URL(s3);
  // SDKs put the bucket's name in front of a name, never of an address.
  if (!isIP(s3.hostname.replaceAll(/[[\]]/g, ""))) bucket.hostname = `${PREFIX}${run.name}.${s3.hostname}`;
  const urls = [endpoint, s3.href, bucket.href].map((url) => new URL(url));
  const byHost = new Map(urls.map((url) => [url.host, url]));
  return [...byHost.values()].map((url) => ({ url, ca }));
}

/** The web page's: at its Ingress, else at its port of the nodes, beside the registry's. Undefined where there is no page. */
export async function pageAddress(run: Run): Promise<Address | undefined> {
  const { kube, deployment } = run;
  if (!deployment.registryUi) return undefined;
  const { namespace } = deployment.registryUi;
  const { url: registry, ca } = await run.registryAccess();
  const url = new URL(registry);
  const name = "registry-ui";
  const ingress = await kube.ask(name, kube.networking.readNamespacedIngress({ name, namespace }));
  const host = ingress?.spec?.rules?.[0]?.host;
  if (host) {
    url.host = host;
    url.port = "";
    return { url, ca };
  }
  const service = await kube.ask(name, kube.core.readNamespacedService({ name: `${name}-node-port`, namespace }));
  url.port = String(service?.spec?.ports?.[0]?.nodePort ?? "");
  return { url, ca };
}
