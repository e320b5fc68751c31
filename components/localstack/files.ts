import { readdirSync, readFileSync } from "node:fs";
import { type LocalStackGateOptions, renderLocalStackGate } from "./gate.ts";
import { type LocalStackLayout, REFUSALS, refusalFile } from "./layout.ts";
import { REFUSAL_TEMPLATES } from "./refusals.ts";
import { renderUploads } from "./uploads.ts";

const script = (name: string) => readFileSync(new URL(name, import.meta.url), "utf8");

/** watch.py, keep.py and what they import. */
const python = () => readdirSync(import.meta.dirname).filter((name) => name.endsWith(".py"));

/** Every file of the pod, by name. None is secret. */
export function renderFiles(layout: LocalStackLayout, options: LocalStackGateOptions): Record<string, string> {
  return {
    "gate.conf": renderLocalStackGate(layout, options),
    "uploads.conf": renderUploads(layout),
    "relay.sh": script("relay.sh"),
    "dind.sh": script("dind.sh"),
    ...Object.fromEntries(python().map((name) => [name, script(name)])),
    "answers.json": JSON.stringify(
      Object.fromEntries(REFUSALS.map((form) => [refusalFile(form), REFUSAL_TEMPLATES[form]])),
    ),
  };
}
