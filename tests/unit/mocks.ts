import { createHash } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import { plain } from "../../render/mock-engine.ts";

/** Of no fixed shape, as Pulumi's own type says: tests read what they expect to be there. */
type Inputs = pulumi.runtime.MockResourceArgs["inputs"];

/** A resource as the program asked for it. */
export interface Recorded {
  type: string;
  name: string;
  /** Inputs with secrets in the clear. */
  inputs: Inputs;
  /** Inputs with secrets still marked. */
  marked: Inputs;
  options: RecordedOptions;
}

/** The options that the engine would be told. */
interface RecordedOptions {
  /** Name of the explicit provider; empty where there is none. */
  provider: string;
  parent: string;
  retainOnDelete: boolean;
  deleteBeforeReplace: boolean;
  ignoreChanges: string[];
  /** Names of everything that must be there first, whether by `dependsOn` or because an output is used. */
  dependsOn: string[];
  /** The same with their types, as one name may be several objects': `kubernetes:core/v1:Service registry`. */
  after: string[];
}

/** As much of the request to the engine as is looked at. */
interface RegisterRequest {
  getType(): string;
  getName(): string;
  getProvider(): string;
  getParent(): string;
  getRetainondelete(): boolean;
  getDeletebeforereplace(): boolean;
  getIgnorechangesList(): string[];
  getDependenciesList(): string[];
  getAdditionalsecretoutputsList(): string[];
}

type Register = (request: RegisterRequest, callback: unknown) => Promise<void>;

/** Stands in for the engine and the providers, and remembers what it was asked for. */
export class Engine implements pulumi.runtime.Mocks {
  readonly resources: Recorded[] = [];
  /** What every command prints. */
  stdout: string | undefined;
  private readonly requests = new Map<string, RegisterRequest>();

  /** Takes the engine's place. To be called before a component is made. */
  static async start(): Promise<Engine> {
    const engine = new Engine();
    await pulumi.runtime.setMocks(engine, "homecloud", "test");
    engine.watchRequests();
    return engine;
  }

  call({ token }: pulumi.runtime.MockCallArgs): never {
    throw new Error(`no provider function is expected to be called: ${token}`);
  }

  newResource({ type, name, inputs }: pulumi.runtime.MockResourceArgs): pulumi.runtime.MockResourceResult {
    const request = this.request(type, name);
    this.resources.push({ type, name, marked: inputs, inputs: plain(inputs), options: optionsOf(request) });
    const printed = type.startsWith("command:") && this.stdout !== undefined ? { stdout: this.stdout } : {};
    const state: Record<string, unknown> = { ...inputs, ...generated(type, name), ...printed };
    // The mocks do not do what the engine does: mark what a provider calls secret.
    for (const key of request.getAdditionalsecretoutputsList()) {
      if (key in state) state[key] = pulumi.secret(plain(state[key]));
    }
    return { id: `${name}-id`, state };
  }

  /** The one Kubernetes object, or other resource, of this kind and name. */
  find(kind: string, name: string, namespace?: string): Recorded {
    const found = this.all(kind).filter(
      ({ inputs, name: own }) =>
        (inputs.metadata?.name ?? own) === name && (!namespace || inputs.metadata?.namespace === namespace),
    );
    if (found.length !== 1 || !found[0]) throw new Error(`${found.length} resources are a ${kind} named ${name}`);
    return found[0];
  }

  all(kind: string): Recorded[] {
    return this.resources.filter(({ type }) => type.split(":").at(-1) === kind);
  }

  /** Names of the objects of this kind, in order. */
  names(kind: string): string[] {
    return this.all(kind)
      .map(({ inputs, name }) => inputs.metadata?.name ?? name)
      .sort();
  }

  /** Resource options are part of the request to the engine, but not of what the mocks hand on. */
  private watchRequests(): void {
    const monitor = pulumi.runtime.getMonitor() as unknown as { registerResource: Register };
    const register = monitor.registerResource.bind(monitor);
    monitor.registerResource = (request, callback) => {
      this.requests.set(`${request.getType()}::${request.getName()}`, request);
      return register(request, callback);
    };
  }

  private request(type: string, name: string): RegisterRequest {
    const request = this.requests.get(`${type}::${name}`);
    if (!request) throw new Error(`${type} ${name} was registered past the recorder`);
    return request;
  }
}

/** Key by which the SDK marks a secret. Source: @pulumi/pulumi/runtime/rpc.js, specialSigKey and specialSecretSig */
const MARK = "4dabf18193072939515e22adb298388d";
const SECRET = "1b47061264138c4ac30d75fd1eb44270";

/** Whether this input went to the engine as a secret. */
export function isMarkedSecret(input: unknown): boolean {
  return typeof input === "object" && input !== null && (input as Record<string, unknown>)[MARK] === SECRET;
}

/** What of these inputs the engine would show. */
export function withoutSecrets(value: unknown): unknown {
  if (isMarkedSecret(value)) return "secret";
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withoutSecrets(item)]));
}

/** The value that an output has in the end. */
export function settled<T>(output: pulumi.Output<T>): Promise<T> {
  return new Promise((resolve) => {
    output.apply((value) => resolve(value));
  });
}

function optionsOf(request: RegisterRequest): RecordedOptions {
  return {
    provider: nameIn(request.getProvider().split("::").slice(0, -1).join("::")),
    parent: nameIn(request.getParent()),
    retainOnDelete: request.getRetainondelete(),
    deleteBeforeReplace: request.getDeletebeforereplace(),
    ignoreChanges: request.getIgnorechangesList(),
    dependsOn: request.getDependenciesList().map(nameIn),
    after: request.getDependenciesList().map((urn) => `${typeIn(urn)} ${nameIn(urn)}`),
  };
}

/** The name at the end of a URN. */
const nameIn = (urn: string) => urn.split("::").at(-1) ?? "";

/** The type before it, without those of its parents. */
const typeIn = (urn: string) => urn.split("::").at(-2)?.split("$").at(-1) ?? "";

/** What the random and tls providers would make: the same on every run, as if it were kept in state. */
function generated(type: string, name: string): Record<string, unknown> {
  switch (type) {
    case "random:index/randomPassword:RandomPassword":
      return { result: `generated-${name}` };
    case "random:index/randomBytes:RandomBytes":
      return { base64: createHash("md5").update(name).digest("base64") };
    case "tls:index/privateKey:PrivateKey":
      return { privateKeyPem: `PRIVATE KEY ${name}` };
    case "tls:index/certRequest:CertRequest":
      return { certRequestPem: `REQUEST ${name}` };
    case "tls:index/selfSignedCert:SelfSignedCert":
    case "tls:index/locallySignedCert:LocallySignedCert":
      return { certPem: `CERTIFICATE ${name}`, validityEndTime: "2030-01-01T00:00:00.5Z" };
    default:
      return {};
  }
}
