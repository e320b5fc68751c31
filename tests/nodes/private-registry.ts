import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import type { RegistryUser } from "../../components/registry/htpasswd.ts";
import type { Tools } from "../../lab/tools.ts";
import { makeCaCertificate, makeCertificate, makeKey } from "../../render/certificates.ts";
import { ociImage } from "../e2e/images.ts";
import { Pod, PULLER, WRITER } from "../integration/pod.ts";
import { tryToConnect } from "../ports.ts";
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

/** A CA of a later generation. */
export interface NextCa extends Ca {
  /** Its certificate as the CA before it signs it: what servers send along, for who trusts no other. */
  crossSigned: string;
}

/** The CA after this one, as components/private-ca.ts makes it. */
export async function nextCa(former: Ca, commonName: string): Promise<NextCa> {
  const ca = await makeCa(commonName);
  const request = { keyPem: ca.keyPem, commonName, dnsNames: [], ipAddresses: [], validityHours: 24, isCa: true };
  return { ...ca, crossSigned: await makeCertificate(request, former) };
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
    const registry = new PrivateRegistry(tools, name, pod, ca);
    await registry.untilLogin();
    return registry;
  }

  /** As image references carry it: name and port. */
  get host(): string {
    return `${this.name}:${this.pod.layout.gatePort}`;
  }

  /** The user who only pulls. */
  get puller(): { name: string; password: string } {
    return PULLER;
  }

  /** Has these users beside the one who pushes, and nobody else. The pod is replaced, as by the product: it is away for a moment. */
  async letIn(...users: RegistryUser[]): Promise<void> {
    await this.restart({ users: [WRITER, ...users] });
  }

  /** Serves a new certificate of this CA, and behind it what leads to the CA before, where that is given. The pod is replaced. */
  async serve(ca: Ca, crossSigned = ""): Promise<void> {
    const { certificate, privateKey } = await issue(ca, [this.name]);
    await this.restart({ tls: { certificate: `${certificate.trimEnd()}\n${crossSigned}`, privateKey } });
  }

  /** The pod is replaced, and lets people log in when this returns. */
  async restart(changes: Parameters<Pod["restart"]>[0] = {}): Promise<void> {
    await this.pod.restart(changes);
    await this.untilLogin();
  }

  /**
   * Waits for the login check, of which the gate's health says nothing. It has a folder of its own in the pod, not here, and
   * the lowest priority: when it begins after the gate, it has just removed the gate's sockets.
   */
  private async untilLogin(): Promise<void> {
    const { pod } = this;
    await untilOpen(pod.layout.loginPort);
    if (existsSync(join(pod.layout.tmp, "login.sock"))) return;
    await pod.kill("gate", "SIGTERM");
    pod.start("gate");
    await pod.untilHealthy();
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

async function untilOpen(port: number): Promise<void> {
  for (const deadline = Date.now() + 20_000; !(await isOpen(port)); await sleep(20)) {
    if (Date.now() > deadline) throw new Error(`nothing listens on port ${port}`);
  }
}

const isOpen = async (port: number) => (await tryToConnect({ host: "127.0.0.1", port })) === "connected";
