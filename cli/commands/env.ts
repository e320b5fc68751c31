import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import { withContext } from "../context.ts";
import { EXIT, UserError } from "../errors.ts";

interface EnvOptions {
  caFile?: string;
}

export function addEnv(program: Command): void {
  program
    .command("env")
    .option("--ca-file <path>", "write the private CA's certificate to this file, and name it in the variables")
    .summary("print the AWS settings for a shell")
    .description(
      "Prints the variables that the AWS CLI and every SDK read, as a shell takes them. With --ca-file the private CA is " +
        "trusted by them too, for a computer that does not trust it as a whole.",
    )
    .addHelpText(
      "after",
      '\nExamples:\n  eval "$(homecloud env)"\n  eval "$(homecloud env --ca-file ~/homecloud-ca.crt)"\n  homecloud env --json | jq -r .AWS_ENDPOINT_URL',
    )
    .action(
      withContext<[], EnvOptions>(async (context, { caFile }) => {
        const { environment, ca, namespace } = await context.localstackAccess();
        if (caFile && !ca) {
          throw new UserError(`LocalStack in ${namespace} has no private CA: leave --ca-file out`, EXIT.usage);
        }
        const variables = { ...environment, ...(caFile && ca ? await trusting(resolve(caFile), ca) : {}) };
        const lines = Object.entries(variables).map(([name, value]) => `export ${name}=${quoted(value)}`);
        context.print(variables, lines.join("\n"));
      }),
    );
}

/** The variables by which the AWS CLI, boto3 and Node trust a CA, whose certificate is then in this file. */
async function trusting(file: string, ca: string): Promise<Record<string, string>> {
  await writeFile(file, ca).catch((error: Error) => {
    throw new UserError(`the CA's certificate cannot be written: ${error.message}`);
  });
  return { AWS_CA_BUNDLE: file, NODE_EXTRA_CA_CERTS: file };
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
