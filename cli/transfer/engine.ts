import { EXIT, UserError } from "../errors.ts";

/** Programs that keep images on this machine, in the order in which they are asked. */
export const ENGINES = ["docker", "podman"] as const;
export type EngineName = (typeof ENGINES)[number];

/** How long an engine may take to say whether it is there, in milliseconds. */
const PATIENCE = 15_000;

/** The engine that has an image. Throws a UserError that says what each of them said. */
export async function engineWith(image: string, wished?: EngineName): Promise<EngineName> {
  return await firstThat(wished, ["image", "inspect", "--format", "{{.Id}}", image], (said) =>
    [
      `neither a file nor an image of this machine is called ${image}:`,
      ...said,
      "build or pull it first, or name an archive",
    ].join("\n  "),
  );
}

/** The engine that answers. Throws a UserError that says what each of them said. */
export async function engineThatRuns(wished?: EngineName): Promise<EngineName> {
  return await firstThat(wished, ["version"], (said) =>
    ["no Docker and no Podman answers on this machine:", ...said, "pull to a file with -o ARCHIVE"].join("\n  "),
  );
}

async function firstThat(
  wished: EngineName | undefined,
  args: string[],
  complaint: (said: string[]) => string,
): Promise<EngineName> {
  const { execa } = await import("execa");
  const said: string[] = [];
  for (const name of wished ? [wished] : ENGINES) {
    const ended = await execa(name, args, { reject: false, stdin: "ignore", timeout: PATIENCE });
    if (ended.exitCode === 0) return name;
    said.push(`${name}: ${reason(ended)}`);
  }
  throw new UserError(complaint(said), EXIT.missing);
}

function reason({
  code,
  stderr,
  timedOut,
}: {
  code?: string | undefined;
  stderr?: string;
  timedOut?: boolean;
}): string {
  if (code === "ENOENT") return "is not installed";
  if (timedOut) return "does not answer";
  return stderr?.trim().split("\n").at(-1) || "refused without a reason";
}

/** Writes an image of an engine's to a file, in Docker's form. */
export async function save(engine: EngineName, image: string, file: string): Promise<void> {
  // Podman's forms differ by what its configuration says.
  const form = engine === "podman" ? ["--format", "docker-archive"] : [];
  const { execa } = await import("execa");
  const ended = await execa(engine, ["save", ...form, image], {
    reject: false,
    stdin: "ignore",
    stdout: { file },
    buffer: { stderr: true, stdout: false },
  });
  if (ended.exitCode !== 0) throw new UserError(`${engine} save ${image}: ${reason(ended)}`);
}

const CLOSED: readonly string[] = ["EPIPE", "ERR_STREAM_PREMATURE_CLOSE", "ECONNRESET"];

/** Gives an archive to an engine as it is made. What breaks off leaves no image there. Returns what the engine said. */
export async function load(
  engine: EngineName,
  write: (target: NodeJS.WritableStream) => Promise<void>,
): Promise<string> {
  const { execa } = await import("execa");
  const child = execa(engine, ["load"], { reject: false, stdin: "pipe" });
  let broken: NodeJS.ErrnoException | undefined;
  await write(child.stdin).catch((error: NodeJS.ErrnoException) => {
    broken = error;
    // An engine that refuses closes its input: its own words say more than that.
    if (!CLOSED.includes(error.code ?? "")) child.kill("SIGKILL");
  });
  const ended = await child;
  if (broken && ended.isTerminated) throw broken;
  if (ended.exitCode !== 0) throw new UserError(`${engine} load: ${reason(ended)}`);
  if (broken) throw broken;
  return ended.stdout.trim();
}
