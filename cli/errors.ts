/** How a command ended, for scripts. Documented in docs/operations.md. */
export const EXIT = {
  done: 0,
  /** It was tried, and failed: a criterion of `verify`, a push that was refused. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** There is no cluster, or no deployment in it. */
  unreachable: 3,
  /** What was asked for is not there: a repository, a tag, a file. */
  missing: 4,
  /** The person said no. */
  declined: 5,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** What a person has to know or repair: the message says it all, so no stack is printed with it. */
export class UserError extends Error {
  override readonly name = "UserError";
  readonly exitCode: ExitCode;

  constructor(message: string, exitCode: ExitCode = EXIT.failed) {
    super(message);
    this.exitCode = exitCode;
  }
}
