import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";
import { describeWith, pathOf } from "../optional.ts";
import { podTools, testTools } from "../tools.ts";
import type { Credentials } from "./client.ts";
import { Pod, WRITER } from "./pod.ts";

/** What the suite may ask: everything. Source: its README. */
const WORKFLOWS = ["PULL", "PUSH", "CONTENT_DISCOVERY", "CONTENT_MANAGEMENT"].map((name) => `OCI_TEST_${name}`);

/** Runs the suite, and returns how each of its tests ended. */
async function conformance(url: string, user?: Credentials): Promise<Map<string, string>> {
  const folder = await mkdtemp(join(tmpdir(), "homecloud-conformance-"));
  const login = user ? { OCI_USERNAME: user.name, OCI_PASSWORD: user.password } : {};
  await execa(pathOf("oci-conformance"), [], {
    env: {
      ...Object.fromEntries(WORKFLOWS.map((name) => [name, "1"])),
      ...{ OCI_ROOT_URL: url, OCI_NAMESPACE: "conformance/one", OCI_CROSSMOUNT_NAMESPACE: "conformance/two" },
      ...{ OCI_REPORT_DIR: folder, ...login },
    },
    cwd: folder,
    // It fails where a test fails: distribution has no referrers API.
    reject: false,
  });
  const report = await readFile(join(folder, "junit.xml"), "utf8");
  const cases = report.matchAll(/<testcase name="([^"]*)"[^>]* status="([^"]*)"/g);
  return new Map([...cases].map(([, name = "", status = ""]) => [name, status]));
}

/** `failed 7, passed 60, skipped 9`. */
function counts(results: Map<string, string>): string {
  const states = [...new Set(results.values())].sort();
  return states.map((state) => `${state} ${[...results.values()].filter((each) => each === state).length}`).join(", ");
}

describeWith("conformance", "the conformance tests of the OCI distribution specification", () => {
  test("end the same through the auth proxy as at the registry itself", async () => {
    const tools = await podTools(await testTools());
    const results: Map<string, string>[] = [];
    // A volume of its own each: the second would find what the first has left.
    for (const way of ["directly", "through the proxy"]) {
      const pod = await Pod.start(tools);
      try {
        const direct = way === "directly";
        const url = direct ? `http://127.0.0.1:${pod.layout.registryPort}` : pod.url;
        const result = await conformance(url, direct ? undefined : WRITER);
        console.log(`${way}: ${counts(result)}`);
        results.push(result);
      } finally {
        await pod.stop();
      }
    }
    const [direct, proxied] = results;
    expect([...(direct?.values() ?? [])].filter((state) => state === "passed").length).toBeGreaterThan(40);
    expect(proxied).toEqual(direct);
  });
});
