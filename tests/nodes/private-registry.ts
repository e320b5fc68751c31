import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import type { Tools } from "../../lab/tools.ts";
import { makeCaCertificate, makeCertificate, makeKey } from "../../render/certificates.ts";
import { ociImage } from "../e2e/images.ts";
import { Pod, PULLER, WRITER } from "../integration/pod.ts";
import { podTools } from "../tools.ts";

/** A CA of the tests' own. */
export interface Ca {
  certPem: string;
  keyPem: string;
}

export async function makeCa(commonName = "homecloud test CA"): Promise<Ca> {
  const keyPem = await makeKey();
  const request = { keyPem, commonName, dnsNames: [], ipAddresses: [], validityHours: 24 };
  return { keyPem, certPem: await makeCaCertificate(request) };
}

/** A server's certificate for these names, and its key. */
export async function issue(ca: Ca, names: string[]): Promise<{ certificate: string; privateKey: string }> {
  const privateKey = await makeKey();
  const [commonName = ""] = names;
  const request = { keyPem: privateKey, commonName, dnsNames: names, ipAddresses: ["127.0.0.1"], validityHours: 24 };
  return { privateKey, certificate: await makeCertificate(request, ca) };
}

/** The real registry behind its real gate, over TLS, with one image: what nodes are to pull from. */
export class PrivateRegistry {
  readonly pod: Pod;
  readonly ca: Ca;
  private readonly name: string;
  private readonly tools: Tools;

  private constructor(tools: Tools, name: string, pod: Pod, ca: Ca) {
    this.tools = tools;
    this.name = name;
    this.pod = pod;
    this.ca = ca;
  }

  /** `name` is what nodes know this machine by; they are still to be told. */
  static async start(tools: Tools, name = "registry.homelab.test"): Promise<PrivateRegistry> {
    const ca = await makeCa();
    const pod = await Pod.start(await podTools(tools), { tls: await issue(ca, [name]) });
    return new PrivateRegistry(tools, name, pod, ca);
  }

  /** As image references carry it: name and port. */
  get host(): string {
    return `${this.name}:${this.pod.layout.gatePort}`;
  }

  /** The user who only pulls. */
  get puller(): { name: string; password: string } {
    return PULLER;
  }

  /** Pushes an image of random content, and returns its reference. */
  async push(image: string): Promise<string> {
    const { folder } = await ociImage();
    const certificates = await mkdtemp(join(tmpdir(), "homecloud-ca-"));
    try {
      await writeFile(join(certificates, "ca.crt"), this.ca.certPem);
      const login = ["--dest-cert-dir", certificates, "--dest-creds", `${WRITER.name}:${WRITER.password}`];
      const target = `docker://${this.pod.host}/${image}`;
      await execa(this.tools.bin("skopeo"), ["copy", ...login, `oci:${folder}:1.0`, target]);
      return `${this.host}/${image}`;
    } finally {
      for (const path of [folder, certificates]) await rm(path, { recursive: true, force: true });
    }
  }

  async stop(): Promise<void> {
    await this.pod.stop();
  }
}
