import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { storageDir } from "../../lab/paths.ts";
import type { Credentials } from "../integration/client.ts";
import { describeWith } from "../optional.ts";
import { startBrowser, type Visit, visit } from "./browser.ts";
import { deployStack, inRegistry, kubectl, removeNamespaces, type TestStack, until } from "./cluster.ts";
import { ociImage, ociIndex } from "./images.ts";
import { Skopeo } from "./skopeo.ts";

/** As much of a browser as is asked there. */
interface Element {
  scrollWidth: number;
  clientWidth: number;
  querySelector(selector: string): Element | null;
}
declare const document: {
  documentElement: Element;
  querySelectorAll(selector: string): ArrayLike<Element> & Iterable<Element>;
};

const PORT = 30680;
const NAMESPACE = "registry-ui-page";
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };

/** Where screenshots go. Those of the documentation: SCREENSHOTS=docs/images. Defaults to nowhere. */
const { SCREENSHOTS } = process.env;

/** What the browser says of every answer 401, the first of which asks for the login. */
const UNAUTHORIZED = /^Failed to load resource: the server responded with a status of 401/;

describeWith("registry-ui", "the registry's web page, in Chromium", () => {
  let stack: TestStack;
  let browser: Browser;
  let url: string;
  let writer: Credentials;
  let puller: Credentials;

  beforeAll(async () => {
    await deploy();
    browser = await startBrowser(url, stack.outputs.caCertificate);
  });
  afterEach(async () => {
    for (const context of browser?.contexts() ?? []) await context.close();
  });
  afterAll(async () => {
    await browser?.close();
    await removeNamespaces(NAMESPACE, ...(stack ? [stack.namespace] : []));
  });

  async function deploy(settings: object = {}): Promise<void> {
    stack = await deployStack(
      "page",
      PORT,
      { storage: "1Gi" },
      {},
      { namespace: NAMESPACE, port: PORT + 1, environment: { THEME: "light" }, ...settings },
    );
    const {
      registryUiUrl = "",
      registryUser,
      registryPassword,
      registryPullUser,
      registryPullPassword,
    } = stack.outputs;
    url = registryUiUrl;
    writer = { name: registryUser, password: registryPassword };
    puller = { name: registryPullUser, password: registryPullPassword };
    await until(async () => (await ask("/")).status === 200, 60, `${url} answers`);
  }

  /** Asks the page's gate past the browser. */
  async function ask(path: string, user?: Credentials, method = "GET"): Promise<{ status: number; body: string }> {
    const login = user ? ["--user", `${user.name}:${user.password}`] : [];
    const format = ["--write-out", "\n%{http_code}", "--request", method];
    const { stdout } = await execa("curl", ["-s", "--cacert", stack.caFile, ...login, ...format, `${url}${path}`]);
    const end = stdout.lastIndexOf("\n");
    return { status: Number(stdout.slice(end)), body: stdout.slice(0, end) };
  }

  async function push(image: string, layout: { folder: string }): Promise<void> {
    const { exitCode, stderr } = await new Skopeo(stack).push(`oci:${layout.folder}:1.0`, image, "--all");
    expect(exitCode, stderr).toBe(0);
  }

  const tagsOf = async (repository: string) => {
    const { body } = await ask(`/v2/${repository}/tags/list`, puller);
    return ((JSON.parse(body) as { tags: string[] | null }).tags ?? []).sort();
  };

  /** The page of a repository's tags, once all that is to be known of each is shown. */
  async function openTags(repository: string, tags: number, user = puller, options = {}): Promise<Visit> {
    const visited = await visit(browser, url, user, options);
    await visited.page.goto(`${url}/#!/taglist/${repository}`);
    await visited.page.waitForFunction((count) => {
      const rows = [...document.querySelectorAll("tag-table tbody tr")];
      return rows.length === count && rows.every((row) => row.querySelector(".architecture"));
    }, tags);
    return visited;
  }

  /** Nothing lies outside of the screen, or of the card that it is in. */
  async function expectNothingCut(page: Page): Promise<void> {
    const widths = await page.evaluate(() => {
      const all = [document.documentElement, ...document.querySelectorAll("material-card")];
      return all.map((element) => [element.scrollWidth, element.clientWidth]);
    });
    for (const [scroll = 0, client = 0] of widths) expect(scroll).toBeLessThanOrEqual(client);
  }

  async function screenshot(page: Page, name: string): Promise<void> {
    if (SCREENSHOTS)
      await page.screenshot({ path: join(SCREENSHOTS, `registry-ui-${name}.png`), animations: "disabled" });
  }

  test("the pod runs as rendered: no root, nothing writable but its volumes, nothing restarted", async () => {
    for (const container of ["gate", "page"]) {
      const inside = (command: string) =>
        kubectl("-n", NAMESPACE, "exec", "deploy/registry-ui", "-c", container, "--", "sh", "-c", command);
      expect(await inside("id -u")).toBe("101");
      await expect(inside("touch /bin/x"), container).rejects.toThrow(/Read-only file system/);
    }
    const restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    expect(await kubectl("-n", NAMESPACE, "get", "pods", "-o", restarts)).toBe("0 0");
  });

  test("another stack may not have its namespace", async () => {
    await expect(deployStack("page-2", PORT + 2, {}, {}, { namespace: NAMESPACE, port: PORT + 3 })).rejects.toThrow(
      `registryUi.namespace: "${NAMESPACE}" belongs to stack page`,
    );
  });

  test("a container of the page that ended starts again in the files that it has edited", async () => {
    await kubectl("-n", NAMESPACE, "exec", "deploy/registry-ui", "-c", "page", "--", "sh", "-c", "kill 1");
    const counts = "jsonpath={.items[0].status.containerStatuses[?(@.name=='page')].restartCount}";
    await until(async () => (await kubectl("-n", NAMESPACE, "get", "pods", "-o", counts)) === "1", 60, "it restarted");
    await until(async () => (await ask("/")).status === 200, 60, "the page answers again");
  });

  describe("a repository's tags", () => {
    beforeAll(async () => {
      const index = await ociIndex();
      await push("shop/frontend:1.0", index);
      await push("shop/frontend:latest", index);
      await push("shop/frontend:0.9", await ociImage(300_000));
    });

    test("with digests, sizes and architectures, and nothing that the browser complains of", async () => {
      const wide = { viewport: { width: 1440, height: 560 } };
      const { page, complaints } = await openTags("shop/frontend", 3, puller, wide);
      const rows = await page.locator("tag-table tbody tr").allInnerTexts();
      const digest = await new Skopeo(stack, "puller").digest("shop/frontend:0.9");

      expect(rows).toHaveLength(3);
      const row = (tag: string) => rows.find((text) => text.split("\n").includes(tag)) ?? "";
      expect(row("0.9")).toMatch(/\b29\d KB/);
      expect(row("0.9")).toContain(digest.slice(0, 30));
      for (const tag of ["1.0", "latest"]) {
        expect(row(tag)).toContain("amd64");
        expect(row(tag)).toContain("arm64");
      }
      expect(await page.locator("main").innerText()).toContain(`${stack.outputs.registryHost}/shop/frontend`);
      expect(complaints.filter((text) => !UNAUTHORIZED.test(text))).toEqual([]);
      await expectNothingCut(page);
      await screenshot(page, "tags");
    });

    test("on a phone: no table that is wider than the screen, and each tag on it", async () => {
      const { page } = await openTags("shop/frontend", 3, puller, PHONE);
      await expectNothingCut(page);
      for (const tag of ["0.9", "1.0", "latest"]) {
        const box = await page.getByText(tag, { exact: true }).boundingBox();
        expect(box && box.x >= 0 && box.x + box.width <= 390, tag).toBe(true);
      }
      await screenshot(page, "phone-tags");
    });

    test("of which none can be deleted unless that is allowed: no button, and 405 past the page", async () => {
      const { page } = await openTags("shop/frontend", 3, writer);
      const digest = await new Skopeo(stack).digest("shop/frontend:0.9");

      expect(await page.locator("remove-image").count()).toBe(0);
      const refused = await ask(`/v2/shop/frontend/manifests/${digest}`, writer, "DELETE");
      expect(refused.status).toBe(405);
      expect(refused.body).toContain("registryUi.allowDelete");
      expect(await tagsOf("shop/frontend")).toEqual(["0.9", "1.0", "latest"]);
    });
  });

  test("a wrong login shows no image, and says that a login is needed", async () => {
    const { page } = await visit(browser, url, { ...writer, password: "wrong" });
    await page.getByText("authentication required: log in with a user of this registry").waitFor();

    expect(await page.locator("main").innerText()).toContain("0 images in 0 repositories");
    expect(await page.locator("catalog-element").count()).toBe(0);
    await screenshot(page, "wrong-login");
  });

  describe("the list", () => {
    /** Milliseconds from the navigation to the last of the list's elements, in three browsers that know nothing yet. */
    async function listTimes(count: number): Promise<number[]> {
      const times: number[] = [];
      for (let run = 0; run < 3; run++) {
        const { page } = await visit(browser, url, puller);
        const shown = await page.waitForFunction(
          (expected) => document.querySelectorAll("catalog > catalog-element").length >= expected && performance.now(),
          count,
          { timeout: 120_000 },
        );
        times.push(Math.round(Number(await shown.jsonValue())));
        expect(await page.locator("main").innerText()).toContain(`in ${count} repositories`);
        await page.context().close();
      }
      return times.sort((a, b) => a - b);
    }

    test("of 1,000 repositories is there nearly as soon as that of one, on a phone too", async () => {
      const [, one = 0] = await listTimes(1);
      await writeRepositories(stack.namespace, 1000);
      const count = 1001;
      const times = await listTimes(count);
      console.log(`1,000 repositories: ${times.join(", ")} ms; one: ${one} ms`);

      expect(times[1]).toBeLessThan(5 * one);
      const { page } = await visit(browser, url, puller);
      await page.getByText("app-00012").waitFor();
      await screenshot(page, "list");
      const { page: phone } = await visit(browser, url, puller, PHONE);
      await phone.getByText("app-00012").waitFor();
      expect(await phone.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
      await screenshot(phone, "phone-list");
    });

    test("of 10,000 is whole, found through, and costs the registry little", async () => {
      await writeRepositories(stack.namespace, 10_000);
      const asked: number[] = [];
      for (let run = 0; run < 3; run++) {
        const begun = performance.now();
        const { body } = await ask("/v2/_catalog?n=100000", puller);
        asked.push(Math.round(performance.now() - begun));
        expect((JSON.parse(body) as { repositories: string[] }).repositories).toHaveLength(10_001);
      }
      const times = await listTimes(10_001);
      const memory = await registryMemory(stack.namespace);
      console.log(
        `10,000 repositories: ${times.join(", ")} ms; the registry's answer alone ${asked.join(", ")} ms; ` +
          `its memory ${(memory / 2 ** 20).toFixed(0)} MiB at most`,
      );

      expect(memory).toBeLessThan(256 * 2 ** 20);
      const { page } = await visit(browser, url, puller);
      await page.getByText("app-00012").waitFor({ timeout: 120_000 });
      const search = page.locator("search-bar input");
      await search.fill("app-0999");
      // Keys are what it listens to.
      await search.press("9");
      await page.waitForFunction(() => document.querySelectorAll("catalog-element > .content").length === 1);
      expect(await page.locator("catalog-element > .content").innerText()).toContain("app-09999");
    });
  });

  describe("deleting, where it is allowed", () => {
    beforeAll(async () => {
      await deploy({ allowDelete: true });
      await removeRepositories(stack.namespace);
      const twice = await ociImage();
      await push("shop/api:1.0", twice);
      await push("shop/api:stable", twice);
      await push("shop/api:0.9", await ociImage());
    });

    /** Presses the button in this tag's row, and confirms. Returns what was to be confirmed. */
    async function remove(page: Page, tag: string): Promise<string> {
      const row = page.locator("tag-table tbody tr").filter({ has: page.getByText(tag, { exact: true }) });
      await row.locator("remove-image button").click();
      const dialog = page.locator("confirm-delete-image");
      await dialog.getByText("These images will be deleted").waitFor();
      const asked = await dialog.innerText();
      await expectNothingCut(page);
      if (tag === "1.0") await screenshot(page, "delete");
      await dialog.getByText("Delete", { exact: true }).click();
      return asked;
    }

    test("the user who only pulls is refused: DENIED, and the image stays", async () => {
      const { page } = await openTags("shop/api", 3, puller);
      await remove(page, "0.9");
      await page.getByText("DENIED").waitFor();

      expect(await page.locator("main").innerText()).toContain("this user may only pull");
      expect(await tagsOf("shop/api")).toEqual(["0.9", "1.0", "stable"]);
    });

    test("the user who pushes is shown every tag of the digest, and all of them go", async () => {
      const { page } = await openTags("shop/api", 3, writer);
      const asked = await remove(page, "1.0");
      await page.getByText("Deleting shop/api:1.0 image").waitFor();

      expect(asked).toContain("shop/api:1.0");
      expect(asked).toContain("shop/api:stable");
      expect(asked).not.toContain("shop/api:0.9");
      await until(async () => (await tagsOf("shop/api")).join() === "0.9", 10, "both tags are gone");
    });
  });
});

/** Adds repositories without a tag to the volume until there are as many: to push each would take half an hour. */
async function writeRepositories(namespace: string, count: number): Promise<void> {
  const root = await repositoriesFolder(namespace);
  for (let begun = 0; begun < count; begun += 100)
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const repository = join(root, `app-${String(begun + index).padStart(5, "0")}`);
        for (const part of ["_layers", "_manifests", "_uploads"])
          await mkdir(join(repository, part), { recursive: true });
      }),
    );
}

async function removeRepositories(namespace: string): Promise<void> {
  const root = await repositoriesFolder(namespace);
  for (const name of await readdir(root)) if (name.startsWith("app-")) await rm(join(root, name), { recursive: true });
}

async function repositoriesFolder(namespace: string): Promise<string> {
  const volume = (await readdir(storageDir)).find((name) => name.includes(`_${namespace}_registry-data`));
  if (!volume) throw new Error(`there is no volume of ${namespace} in ${storageDir}`);
  return join(storageDir, volume, "docker/registry/v2/repositories");
}

/** The most memory that the registry's process had, in bytes. */
async function registryMemory(namespace: string): Promise<number> {
  const status = await inRegistry(namespace, "cat", "/proc/1/status");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}
