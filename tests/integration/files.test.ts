import { mkdir, mkdtemp, readdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { beforeAll, describe, expect, test } from "vitest";
import { renderPublicFiles } from "../../components/registry/files.ts";
import type { GateOptions } from "../../components/registry/gate.ts";
import { POD_LAYOUT } from "../../components/registry/layout.ts";
import type { Tools } from "../../lab/lab.ts";
import { testTools } from "../tools.ts";

let tools: Tools;

beforeAll(async () => {
  tools = await testTools();
});

describe("nginx -t accepts every configuration that can be rendered", () => {
  const behindIngress: GateOptions = { writer: "homelab", tls: false, trustedProxies: ["10.42.0.0/16", "fd00::/8"] };
  const shapes: Record<string, GateOptions> = {
    "behind an ingress": behindIngress,
    "behind an ingress, with a public certificate": { ...behindIngress, hsts: true },
    "on a node port, with TLS": { writer: "homelab", tls: true, trustedProxies: [] },
    "on loopback, without TLS": { writer: "homelab", tls: false, trustedProxies: [] },
    "with dots and dashes in the writer's name": { ...behindIngress, writer: "ci.push-er_1" },
  };

  test.each(Object.entries(shapes))("%s", async (_, options) => {
    const folder = await mkdtemp(join(tmpdir(), "homecloud-nginx-"));
    const inFolder = (path: string) => join(folder, path);
    const layout = { ...POD_LAYOUT, accessLog: inFolder("access.log") };
    for (const name of ["state", "counters", "locks", "tmp", "config", "users", "certificate"] as const) {
      layout[name] = inFolder(name);
      await mkdir(layout[name]);
    }
    if (options.tls) await certificate(layout.certificate);
    for (const [name, text] of Object.entries(renderPublicFiles(layout, options))) {
      await writeFile(join(layout.config, name), text);
      if (!name.endsWith(".conf")) continue;
      const { all, exitCode } = await nginxTest(join(layout.config, name), folder);
      expect(exitCode, all).toBe(0);
      expect(all, "a warning is a mistake too").not.toMatch(/\[warn\]/);
    }
  });

  function nginxTest(file: string, prefix: string) {
    return execa(tools.bin("nginx"), ["-t", "-e", "stderr", "-p", prefix, "-c", file], { all: true, reject: false });
  }

  function certificate(folder: string) {
    const names = ["-subj", "/CN=registry", "-keyout", join(folder, "tls.key"), "-out", join(folder, "tls.crt")];
    return execa(tools.bin("openssl"), ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", ...names]);
  }
});

test("shellcheck has nothing to say about the scripts", async () => {
  const folder = new URL("../../components/", import.meta.url).pathname;
  const files = await readdir(folder, { recursive: true });
  const scripts = files.filter((name) => name.endsWith(".sh")).sort();
  expect(scripts).toEqual([
    "localstack/dind.sh",
    "localstack/relay.sh",
    "node-trust/node.sh",
    "registry/collect-garbage.sh",
    "registry/measure.sh",
  ]);
  const { stdout, exitCode } = await execa(tools.bin("shellcheck"), scripts, { cwd: folder, reject: false });
  expect(exitCode, stdout).toBe(0);
});
