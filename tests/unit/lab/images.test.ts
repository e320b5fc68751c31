import { execa } from "execa";
import { expect, test } from "vitest";
import { dockerArchive, type Image } from "../../../lab/images/docker-archive.ts";
import { parseLdd } from "../../../lab/images/shared-libraries.ts";
import { tar } from "../../../lab/images/tar.ts";

const image: Image = {
  ref: "docker.io/library/hello:1",
  config: { Cmd: ["sh"] },
  files: [
    { path: "tmp", folder: true, mode: 0o1777 },
    { path: "bin/sh", linkTo: "busybox" },
    { path: "etc/motd", content: "hello\n", owner: 101 },
  ],
};

test("tar reads what the writer wrote", async () => {
  const { stdout } = await execa("tar", ["--list", "--verbose", "--numeric-owner", "--utc", "--file", "-"], {
    input: tar(image.files),
  });
  expect(stdout.split("\n").map((line) => line.replace(/\s+/g, " "))).toEqual([
    "drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/",
    "lrw-r--r-- 0/0 0 1970-01-01 00:00 bin/sh -> busybox",
    "-rw-r--r-- 101/101 6 1970-01-01 00:00 etc/motd",
  ]);
});

test("a path that the format cannot hold is refused instead of cut", () => {
  expect(() => tar([{ path: "x".repeat(101), content: "" }])).toThrow("too long");
});

test("the same image gives the same bytes", () => {
  expect(dockerArchive(image, "amd64").equals(dockerArchive(image, "amd64"))).toBe(true);
  expect(dockerArchive(image, "amd64").equals(dockerArchive(image, "arm64"))).toBe(false);
});

test("libraries are read from ldd's output, the loader among them", () => {
  const output = `	linux-vdso.so.1 (0x00007ffd)
	libcrypt.so.1 => /lib/x86_64-linux-gnu/libcrypt.so.1 (0x00007f02)
	/lib64/ld-linux-x86-64.so.2 (0x00007f03)
`;
  expect(parseLdd(output)).toEqual(["/lib/x86_64-linux-gnu/libcrypt.so.1", "/lib64/ld-linux-x86-64.so.2"]);
});

test("a missing library is named", () => {
  expect(() => parseLdd("	libpcre2-8.so.0 => not found\n", "nginx")).toThrow("nginx needs libpcre2-8.so.0");
});
