import * as pulumi from "@pulumi/pulumi";
import { beforeEach, describe, expect, test } from "vitest";
import { ClusterNames, renderRewrites } from "../../components/cluster-names.ts";
import { dnsmasqLines, dnsRecords } from "../../components/dns-records.ts";
import { PiholeRecords } from "../../components/pihole-records.ts";
import { Engine, isMarkedSecret } from "./mocks.ts";

let engine: Engine;

beforeEach(async () => {
  engine = await Engine.start();
});

describe("DNS records", () => {
  test("are A for IPv4 and AAAA for IPv6", () => {
    expect(dnsRecords(["registry.lab"], "192.168.1.240")).toEqual([
      { name: "registry.lab", type: "A", address: "192.168.1.240" },
    ]);
    expect(dnsRecords(["registry.lab"], "fd00::10")).toEqual([
      { name: "registry.lab", type: "AAAA", address: "fd00::10" },
    ]);
    expect(dnsRecords([], "192.168.1.240")).toEqual([]);
  });

  test("name wildcards like any other", () => {
    expect(dnsRecords(["*.s3.localstack.lab"], "192.168.1.240")).toEqual([
      { name: "*.s3.localstack.lab", type: "A", address: "192.168.1.240" },
    ]);
  });

  test("have lines for dnsmasq where they are wildcards, of either kind of address, that ask nobody else", () => {
    const hosts = ["localstack.lab", "s3.localstack.lab", "*.s3.localstack.lab"];
    expect(dnsmasqLines(dnsRecords(hosts, "192.168.1.240"))).toEqual([
      "address=/s3.localstack.lab/192.168.1.240",
      "local=/s3.localstack.lab/",
    ]);
    expect(dnsmasqLines(dnsRecords(hosts, "fd00::10"))).toContain("address=/s3.localstack.lab/fd00::10");
    expect(dnsmasqLines(dnsRecords(["registry.lab"], "192.168.1.240"))).toEqual([]);
  });
});

describe("names inside the cluster", () => {
  test("each host is rewritten to its Service, and nothing else is", () => {
    const rewrites = [
      { host: "registry.lab", service: "traefik.kube-system" },
      { host: "localstack.lab", service: "localstack.localstack" },
    ];
    expect(renderRewrites({ rewrites })).toBe(
      "rewrite name exact registry.lab traefik.kube-system.svc.cluster.local\n" +
        "rewrite name exact localstack.lab localstack.localstack.svc.cluster.local\n",
    );
    expect(renderRewrites({ rewrites: [] })).toBe("");
  });

  // What CoreDNS makes of it: tests/integration/cluster-names.test.ts.
  test("a wildcard is rewritten below its name only, and its answers back to what was asked", () => {
    const rewrites = [{ host: "*.s3.localstack.lab", service: "traefik.kube-system" }];
    expect(renderRewrites({ rewrites })).toBe(
      "rewrite name regex ^.+\\.s3\\.localstack\\.lab\\.$ traefik.kube-system.svc.cluster.local answer auto\n",
    );
  });

  test("coredns-custom is patched, not made: other keys, those of other stacks too, stay", async () => {
    new ClusterNames("cluster-names", { rewrites: [{ host: "registry.lab", service: "traefik.kube-system" }] });
    await pulumi.runtime.disconnect();

    expect(engine.all("ConfigMap")).toEqual([]);
    const { inputs } = engine.find("ConfigMapPatch", "coredns-custom", "kube-system");
    expect(Object.keys(inputs.data)).toEqual(["homecloud-test.override"]);
  });
});

describe("Pi-hole", () => {
  const args = { url: "http://192.168.1.2", password: "hunter2" };

  test("one resource a record sets it, and takes it out when it is no longer wanted", async () => {
    new PiholeRecords("pihole", { ...args, records: dnsRecords(["registry.lab", "ui.lab"], "192.168.1.240") });
    await pulumi.runtime.disconnect();

    expect(engine.names("Command")).toEqual(["pihole-registry.lab", "pihole-ui.lab"]);
    const { inputs } = engine.find("Command", "pihole-registry.lab");
    expect(inputs.create).toMatch(/ set$/);
    expect(inputs.update).toMatch(/ set$/);
    expect(inputs.delete).toMatch(/ remove$/);
    // They replace: the new record would be set, then removed.
    expect(inputs.triggers).toBeUndefined();
    expect(inputs.environment).toMatchObject({
      PIHOLE_URL: "http://192.168.1.2",
      RECORD_NAME: "registry.lab",
      RECORD_ADDRESS: "192.168.1.240",
    });
  });

  test("the password is secret, and on no command line", async () => {
    new PiholeRecords("pihole", { ...args, records: dnsRecords(["registry.lab"], "192.168.1.240") });
    await pulumi.runtime.disconnect();

    const { marked, inputs } = engine.find("Command", "pihole-registry.lab");
    expect(isMarkedSecret(marked.environment) || isMarkedSecret(marked.environment.PIHOLE_PASSWORD)).toBe(true);
    expect([inputs.create, inputs.update, inputs.delete].join()).not.toContain("hunter2");
  });

  test("records are set one after the other: Pi-hole loses one of two writes at once", async () => {
    new PiholeRecords("pihole", { ...args, records: dnsRecords(["a.lab", "b.lab", "c.lab"], "192.168.1.240") });
    await pulumi.runtime.disconnect();

    expect(engine.find("Command", "pihole-a.lab").options.dependsOn).toEqual([]);
    expect(engine.find("Command", "pihole-b.lab").options.dependsOn).toEqual(["pihole-a.lab"]);
    expect(engine.find("Command", "pihole-c.lab").options.dependsOn).toEqual(["pihole-b.lab"]);
  });

  test("a wildcard's resource has no star in its name, which Pulumi's --target takes for a pattern", async () => {
    const hosts = ["s3.localstack.lab", "*.s3.localstack.lab"];
    new PiholeRecords("pihole", { ...args, records: dnsRecords(hosts, "192.168.1.240") });
    await pulumi.runtime.disconnect();

    const { inputs, options } = engine.find("Command", "pihole-wildcard.s3.localstack.lab");
    expect(inputs.environment).toMatchObject({ RECORD_NAME: "*.s3.localstack.lab", RECORD_ADDRESS: "192.168.1.240" });
    expect(options.dependsOn).toEqual(["pihole-s3.localstack.lab"]);
  });

  test("no record, no command", async () => {
    new PiholeRecords("pihole", { ...args, records: [] });
    await pulumi.runtime.disconnect();

    expect(engine.all("Command")).toEqual([]);
  });
});
