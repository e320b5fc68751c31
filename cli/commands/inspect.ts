import type { Command } from "commander";
import { withContext } from "../context.ts";
import { EXIT, UserError } from "../errors.ts";
import { plainLine } from "../plain.ts";
import { type ImageDetails, readImage } from "../registry/image.ts";
import { parseReference } from "../registry/reference.ts";
import { table } from "../table.ts";
import { bytes } from "../units.ts";

export function addInspect(program: Command): void {
  program
    .command("inspect")
    .argument("<image>", "REPO:TAG or REPO@sha256:…")
    .summary("show what an image is made of")
    .description("Shows an image's digest, platforms, layers, when it was made, and how it starts.")
    .addHelpText("after", "\nExamples:\n  homecloud inspect team/app:1.2\n  homecloud inspect team/app:1.2 --json")
    .action(
      withContext<[string]>(async (context, image) => {
        const registry = await context.registry();
        const { repository, tag, digest } = parseReference(image, registry.access.host);
        const reference = digest ?? tag;
        if (!reference) throw new UserError(`${image} has no tag: homecloud ls ${repository} lists them`, EXIT.usage);
        const details = await readImage(registry, repository, reference);
        context.print(details, `${repository}${digest ? "@" : ":"}${reference}\n${render(details)}`);
      }),
    );
}

function render({ digest, mediaType, platforms }: ImageDetails): string {
  const parts = platforms.map(({ name, digest, created, command, layers }) =>
    [
      "",
      `${name}  ${digest}`,
      `  made     ${created ?? "not told"}`,
      `  command  ${plainLine(command.join(" ")) || "none"}`,
      table(
        ["  LAYER", "SIZE"],
        layers.map((layer) => [`  ${layer.digest}`, bytes(layer.size)]),
      ),
    ].join("\n"),
  );
  return [`digest  ${digest}`, `type    ${mediaType}`, ...parts].join("\n");
}
