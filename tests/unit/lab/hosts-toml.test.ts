import { expect, test } from "vitest";
import { renderHostsToml } from "../../../components/node-trust/hosts-toml.ts";

test("pulls go to the server and nowhere else, verified by the CA", () => {
  const toml = renderHostsToml({
    host: "registry.test",
    server: "https://127.0.0.1:30443",
    caFile: "/certs.d/registry.test/ca.crt",
  });
  expect(toml).toBe(`# registry.test, written by homecloud
server = "https://127.0.0.1:30443"
ca = "/certs.d/registry.test/ca.crt"

[host."https://127.0.0.1:30443"]
  capabilities = ["pull", "resolve"]
  ca = "/certs.d/registry.test/ca.crt"
`);
});

test("without a CA of its own the node's hold, and verification stays on", () => {
  const toml = renderHostsToml({ host: "ghcr.io", server: "https://mirror.test" });
  expect(toml).not.toMatch(/ca =|skip_verify/);
});

test("a quote or a line break cannot add a setting", () => {
  const toml = renderHostsToml({ host: "a\nskip_verify = true", server: 'https://x"\nskip_verify = true' });
  expect(toml).not.toMatch(/^\s*skip_verify/m);
});
