import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { sha256 } from "../integration/client.ts";
import { lab, type TestStack } from "./cluster.ts";

/** What skopeo printed and how it ended. */
export interface Ended {
  exitCode: number | undefined;
  stderr: string;
}

/** Without it skopeo compresses plain layers on their way, and the manifest becomes another. */
const SAME_BYTES = ["--preserve-digests"];

/** skopeo with a stack's CA and one of its users: a real client, over verified TLS. */
export class Skopeo {
  private readonly stack: TestStack;
  private readonly login: string;

  constructor(stack: TestStack, user: "writer" | "puller" | { name: string; password: string } = "writer") {
    const { registryUser, registryPassword, registryPullUser, registryPullPassword } = stack.outputs;
    const users = {
      writer: `${registryUser}:${registryPassword}`,
      puller: `${registryPullUser}:${registryPullPassword}`,
    };
    this.stack = stack;
    this.login = typeof user === "string" ? users[user] : `${user.name}:${user.password}`;
  }

  reference(image: string): string {
    return `docker://${this.stack.outputs.registryHost}/${image}`;
  }

  push(source: string, image: string, ...options: string[]): Promise<Ended> {
    return this.run(
      "copy",
      ...SAME_BYTES,
      "--dest-cert-dir",
      this.stack.caFolder,
      "--dest-creds",
      this.login,
      ...options,
      source,
      this.reference(image),
    );
  }

  /** Pulls to a new folder in the form that keeps every byte; returns the folder. */
  async pull(image: string, ...options: string[]): Promise<Ended & { folder: string }> {
    const folder = await mkdtemp(join(tmpdir(), "homecloud-pull-"));
    const ended = await this.run(
      "copy",
      ...SAME_BYTES,
      "--src-cert-dir",
      this.stack.caFolder,
      "--src-creds",
      this.login,
      ...options,
      this.reference(image),
      `dir:${folder}`,
    );
    return { ...ended, folder };
  }

  delete(image: string): Promise<Ended> {
    return this.run("delete", "--cert-dir", this.stack.caFolder, "--creds", this.login, this.reference(image));
  }

  /** Digest of a tag as the registry serves it. */
  async digest(image: string): Promise<string> {
    const { stdout } = await execa(
      lab.bin("skopeo"),
      ["inspect", "--raw", "--cert-dir", this.stack.caFolder, "--creds", this.login, this.reference(image)],
      { stripFinalNewline: false },
    );
    return sha256(stdout);
  }

  private async run(...args: string[]): Promise<Ended> {
    const { exitCode, stderr } = await execa(lab.bin("skopeo"), args, { reject: false });
    return { exitCode, stderr };
  }
}

/** Digest of the manifest that a pull has left in its folder. */
export async function pulledDigest(folder: string): Promise<string> {
  return sha256(await readFile(join(folder, "manifest.json")));
}
