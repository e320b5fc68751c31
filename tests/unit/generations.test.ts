import { describe, expect, test } from "vitest";
import { generationProblems } from "../../cluster/generations.ts";
import { makeCaCertificate, makeCertificate, makeKey } from "../../render/certificates.ts";
import { SHAPES, settingsOf } from "./stacks.ts";

const NOTHING = { htpasswd: undefined, certificate: undefined };
const HTPASSWD = "homelab:$2y$12$x\npuller-2:$2y$12$x\npuller-1:$2y$12$x\n";

function settings(registry: object, generation = 1) {
  return settingsOf({ ...SHAPES["ingress, private CA"], registry, tls: { mode: "private-ca", generation } });
}

async function issuedBy(commonName: string): Promise<string> {
  const keyPem = await makeKey();
  const names = { dnsNames: [], ipAddresses: [], validityHours: 1 };
  const certPem = await makeCaCertificate({ keyPem, commonName, ...names });
  return makeCertificate({ keyPem: await makeKey(), commonName: "registry", ...names }, { keyPem, certPem });
}

describe("the pull user's generation", () => {
  const problems = (registry: object) => generationProblems({ ...NOTHING, htpasswd: HTPASSWD }, settings(registry));

  test.each([2, 3])("%i, with puller-2 in the cluster, is fine", (pullUserGeneration) => {
    expect(problems({ pullUserGeneration })).toEqual([]);
  });

  test.each([1, 4])("%i would lock out whoever has puller-2", (pullUserGeneration) => {
    expect(problems({ pullUserGeneration })).toEqual([
      `registry.pullUserGeneration: ${pullUserGeneration} is not allowed; allowed: 2, which the cluster has, or 3, by which the former one stays valid`,
    ]);
  });

  test("the former user may go when everybody has the new one, not before", () => {
    expect(problems({ pullUserGeneration: 2, keepFormerPullUser: false })).toEqual([]);
    expect(problems({ pullUserGeneration: 3, keepFormerPullUser: false })).toEqual([
      expect.stringMatching(/^registry.keepFormerPullUser: false is not allowed.* everybody puller-3$/),
    ]);
  });

  test("users of other names do not count", () => {
    const htpasswd = "puller:x\npuller-one:x\npuller-2-3:x\nxpuller-9:x\n";
    expect(generationProblems({ ...NOTHING, htpasswd }, settings({ pullUserGeneration: 7 }))).toEqual([]);
  });
});

describe("the CA's generation", () => {
  test.each([
    ["homecloud private CA", 1, true],
    ["homecloud private CA", 2, true],
    ["homecloud private CA", 3, false],
    ["homecloud private CA 2", 1, false],
    ["homecloud private CA 2", 3, true],
    ["somebody else's CA", 5, true],
  ])("after %s, %i is allowed: %s", async (issuer, generation, isAllowed) => {
    const certificate = await issuedBy(issuer);
    const problems = generationProblems({ ...NOTHING, certificate }, settings({}, generation));
    expect(problems.map((problem) => problem.split(":")[0])).toEqual(isAllowed ? [] : ["tls.generation"]);
  });
});

test("where nothing is deployed, any generation will do", () => {
  expect(generationProblems(NOTHING, settings({ pullUserGeneration: 5 }, 5))).toEqual([]);
});

test("with another kind of certificate the CA does not matter", async () => {
  const tls = { mode: "cluster-issuer", issuer: "letsencrypt" };
  const other = settingsOf({ domain: "home.example.net", tls });
  expect(generationProblems({ ...NOTHING, certificate: await issuedBy("homecloud private CA 4") }, other)).toEqual([]);
});
