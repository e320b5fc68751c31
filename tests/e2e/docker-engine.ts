import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { libraryPath } from "../../lab/debian.ts";
import { prepareTools } from "../../lab/lab.ts";
import { tools, unpackedProgram } from "../../lab/tools.ts";

/**
 * A Docker of a test's own, as on a developer's machine: Debian's, with folders of its own and without a network, so that
 * the machine's firewall stays what it is. It keeps images, and runs nothing.
 */
export class DockerEngine {
  /** Leads `docker` to it, which is Debian's too. */
  readonly env: { DOCKER_HOST: string; PATH: string };
  private readonly folder: string;
  private readonly daemon: { kill(signal: NodeJS.Signals): boolean } & PromiseLike<unknown>;

  private constructor(folder: string, daemon: DockerEngine["daemon"], client: string) {
    this.folder = folder;
    this.daemon = daemon;
    this.env = { DOCKER_HOST: `unix://${folder}/docker.sock`, PATH: `${client}:${process.env.PATH}` };
  }

  static async start(): Promise<DockerEngine> {
    await prepareTools(
      (line) => console.error(line),
      ["dockerd", "docker", "containerd", "containerd-shim-runc-v2", "runc"],
    );
    const folder = await mkdtemp(join(tmpdir(), "homecloud-docker-"));
    const client = join(folder, "bin");
    await mkdir(client);
    await execa("ln", ["-s", await unpackedProgram("docker"), join(client, "docker")]);
    const daemon = execa(
      await unpackedProgram("dockerd"),
      [
        ...["--host", `unix://${folder}/docker.sock`, "--pidfile", join(folder, "docker.pid")],
        ...["--data-root", join(folder, "data"), "--exec-root", join(folder, "exec")],
        ...["--storage-driver", "vfs", "--bridge", "none", "--iptables=false", "--ip6tables=false"],
      ],
      {
        env: { ...tools().env, LD_LIBRARY_PATH: await libraryPath() },
        extendEnv: false,
        reject: false,
        stdin: "ignore",
        stdout: { file: join(folder, "log") },
        stderr: { file: join(folder, "log") },
        buffer: false,
      },
    );
    const engine = new DockerEngine(folder, daemon, client);
    for (let attempt = 0; (await engine.docker("version")).exitCode !== 0; attempt++) {
      if (attempt === 100)
        throw new Error(`dockerd does not answer: ${(await execa("tail", ["-5", join(folder, "log")])).stdout}`);
      await sleep(300);
    }
    return engine;
  }

  async docker(...args: string[]): Promise<{ exitCode: number | undefined; stdout: string; stderr: string }> {
    const { exitCode, stdout, stderr } = await execa("docker", args, { env: this.env, reject: false, stdin: "ignore" });
    return { exitCode, stdout, stderr };
  }

  async stop(): Promise<void> {
    this.daemon.kill("SIGTERM");
    await this.daemon;
    await rm(this.folder, { recursive: true, force: true });
  }
}
