import { execa } from "execa";
import { readIfThere, sha256, writeIfChanged } from "../files.ts";
import { KUBERNETES_SERVICE, NODE_ADDRESS, NODE_NAME } from "../network.ts";
import { inState } from "../paths.ts";
import { tools } from "../tools.ts";

/** Who a certificate is for: Kubernetes reads the user from CN and the groups from O. */
export interface Subject {
  name: string;
  group?: string;
  hosts?: string[];
}

/** Every identity of the cluster; each component has the one that RBAC's built-in roles are written for. */
const IDENTITIES = {
  apiserver: {
    name: "kube-apiserver",
    hosts: [
      NODE_ADDRESS,
      "127.0.0.1",
      KUBERNETES_SERVICE,
      "localhost",
      "kubernetes",
      "kubernetes.default",
      "kubernetes.default.svc",
      "kubernetes.default.svc.cluster.local",
    ],
  },
  "apiserver-kubelet-client": { name: "kube-apiserver-kubelet-client", group: "system:masters" },
  etcd: { name: "etcd", hosts: ["127.0.0.1", "localhost"] },
  admin: { name: "admin", group: "system:masters" },
  "controller-manager": { name: "system:kube-controller-manager" },
  scheduler: { name: "system:kube-scheduler" },
  proxy: { name: "system:kube-proxy" },
  kubelet: { name: `system:node:${NODE_NAME}`, group: "system:nodes", hosts: [NODE_ADDRESS, NODE_NAME] },
} as const satisfies Record<string, Subject>;

export type Identity = keyof typeof IDENTITIES;

const VALID_DAYS = 3650;

export const certificatePath = (identity: Identity | "ca"): string => inState("pki", `${identity}.crt`);
export const keyPath = (identity: Identity | "ca" | "service-account"): string => inState("pki", `${identity}.key`);

/** Makes the CA, every identity's certificate and the service accounts' key; once in a cluster's life. */
export async function ensurePki(): Promise<void> {
  // Written last: where it is missing, an earlier start was cut short.
  const complete = inState("pki", "complete");
  const wanted = sha256(JSON.stringify(IDENTITIES));
  if ((await readIfThere(complete)) === wanted) return;
  await makeCertificate("ca", renderRequest({ name: "homecloud-lab" }, AUTHORITY));
  for (const [identity, subject] of Object.entries(IDENTITIES) as [Identity, Subject][])
    await makeCertificate(identity, renderRequest(subject, LEAF), [
      "-CA",
      certificatePath("ca"),
      "-CAkey",
      keyPath("ca"),
    ]);
  if ((await readIfThere(keyPath("service-account"))) === undefined)
    // ecparam, not genpkey: of EC keys the API server reads only the older form, "EC PRIVATE KEY".
    await openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", keyPath("service-account"));
  await writeIfChanged(complete, wanted);
}

const AUTHORITY = ["basicConstraints = critical,CA:TRUE", "keyUsage = critical,keyCertSign,cRLSign"];
const LEAF = [
  "basicConstraints = critical,CA:FALSE",
  "keyUsage = critical,digitalSignature",
  "extendedKeyUsage = clientAuth,serverAuth",
];

/** What openssl is asked to certify, in its own form. */
export function renderRequest({ name, group, hosts = [] }: Subject, extensions: string[]): string {
  const names = hosts.map((host) => `${/^[\d.]+$/.test(host) ? "IP" : "DNS"}:${host}`);
  return [
    "[req]",
    "prompt = no",
    "distinguished_name = subject",
    "x509_extensions = extensions",
    "[subject]",
    ...(group === undefined ? [] : [`O = ${group}`]),
    `CN = ${name}`,
    "[extensions]",
    ...extensions,
    ...(names.length === 0 ? [] : [`subjectAltName = ${names.join(",")}`]),
    "",
  ].join("\n");
}

async function makeCertificate(name: Identity | "ca", request: string, authority: string[] = []): Promise<void> {
  const config = inState("pki", `${name}.cnf`);
  await writeIfChanged(config, request);
  await openssl(
    ...[
      "req",
      "-x509",
      "-new",
      "-config",
      config,
      "-days",
      String(VALID_DAYS),
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-noenc",
    ],
    ...["-keyout", keyPath(name), "-out", certificatePath(name), ...authority],
  );
}

/** Keys are written by openssl with mode 0600, in a folder that is root's alone. */
async function openssl(...args: string[]): Promise<void> {
  await execa(tools().bin("openssl"), args);
}
