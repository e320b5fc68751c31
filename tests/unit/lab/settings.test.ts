import { expect, test } from "vitest";
import { parse } from "yaml";
import { fillIn, upstreamResolvers } from "../../../lab/cluster/addons.ts";
import { renderKubeconfig } from "../../../lab/cluster/kubeconfig.ts";
import { renderRequest } from "../../../lab/cluster/pki.ts";
import { renderCniConflist, renderContainerdToml, renderProxyConfig } from "../../../lab/cluster/settings.ts";
import { withoutProxy } from "../../../lab/tools.ts";
import { renderWrapper, shellQuote } from "../../../lab/wrappers.ts";

const places = { state: "/state", run: "/run/lab", cniPlugins: "/cache/cni", caFile: "/state/pki/ca.crt" };

test("the kubeconfig verifies the API server", () => {
  const text = renderKubeconfig({ server: "https://10.142.0.1:16443", ca: "CA", certificate: "CERT", key: "KEY" });
  expect(parse(text).clusters[0].cluster).toEqual({
    server: "https://10.142.0.1:16443",
    "certificate-authority-data": Buffer.from("CA").toString("base64"),
  });
});

test("NodePorts answer on loopback only", () => {
  expect(parse(renderProxyConfig("/kubeconfig")).nodePortAddresses).toEqual(["127.0.0.0/8"]);
});

test("containerd and CNI keep to the lab's folders", () => {
  const paths = [...renderContainerdToml(places).matchAll(/"(\/[^"]*)"/g)].map((match) => match[1]);
  expect(paths.filter((path) => !/^\/(state|run\/lab|cache)\//.test(path ?? ""))).toEqual([]);
  expect(JSON.parse(renderCniConflist(places)).plugins[0]).toMatchObject({ bridge: "homecloud0" });
});

test("a certificate carries group, name and hosts", () => {
  const request = renderRequest({ name: "admin", group: "system:masters", hosts: ["10.0.0.1", "localhost"] }, []);
  expect(request).toContain("O = system:masters\nCN = admin\n");
  expect(request).toContain("subjectAltName = IP:10.0.0.1,DNS:localhost\n");
});

test("a resolver on loopback is not given to pods", () => {
  expect(upstreamResolvers("nameserver 127.0.0.53\nnameserver 192.168.1.1\nsearch lan\n")).toEqual(["192.168.1.1"]);
});

test("a template's name without a value is an error", () => {
  expect(fillIn(`path: \${STORAGE}`, { STORAGE: "/s" })).toBe("path: /s");
  expect(() => fillIn(`path: \${OTHER}`, {})).toThrow("OTHER");
});

test("a proxy is asked for nothing inside the cluster, and what was exempt stays so", () => {
  expect(withoutProxy({ NO_PROXY: "corp.example" }).NO_PROXY).toMatch(
    /^corp\.example,.*10\.142\.0\.0\/24,10\.143\.0\.0\/16/,
  );
});

test("a wrapper survives paths with spaces and quotes", () => {
  expect(shellQuote("it's here")).toBe(`'it'\\''s here'`);
  expect(renderWrapper({ program: "/my cache/nginx", libraryPath: "/my cache/lib", args: ["-e", "stderr"] })).toContain(
    `exec '/my cache/nginx' '-e' 'stderr' "$@"`,
  );
});
