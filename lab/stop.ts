import { parseArgs } from "node:util";
import { runCommand } from "./command.ts";
import { LabError, stopLab } from "./lab.ts";

const USAGE = `npm stop                        ends the lab; images and data stay
npm stop -- --delete            removes its data too
npm stop -- --delete --cache    removes what was downloaded and built as well`;

await runCommand(async () => {
  const { delete: deleteState, cache: deleteCache } = options();
  await stopLab({ deleteState, deleteCache });
  console.log(
    deleteState ? "The lab and its data are gone." : "The lab has ended; npm start brings it back with its data.",
  );
});

function options(): { delete: boolean; cache: boolean } {
  try {
    const { values } = parseArgs({
      options: { delete: { type: "boolean", default: false }, cache: { type: "boolean", default: false } },
    });
    return values;
  } catch {
    throw new LabError(`npm stop takes no such option:\n${USAGE}`);
  }
}
