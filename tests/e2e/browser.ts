import { createHash, X509Certificate } from "node:crypto";
import { connect } from "node:tls";
import chromiumFiles from "@sparticuz/chromium";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import type { Credentials } from "../integration/client.ts";

/**
 * A Chromium, from npm. It takes the one certificate of this server, which is verified here with the CA: it has no store of
 * CAs that a test could add to without changing the machine.
 */
export async function startBrowser(url: string, ca: string): Promise<Browser> {
  return chromium.launch({
    executablePath: await chromiumFiles.executablePath(),
    // Tests run as root.
    args: ["--no-sandbox", "--headless=shell", `--ignore-certificate-errors-spki-list=${await keyOf(url, ca)}`],
  });
}

/** Digest of the server's key. Throws where its certificate is not the CA's, or another server's. */
function keyOf(url: string, ca: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), ca }, () => {
      const { publicKey } = new X509Certificate(socket.getPeerCertificate().raw);
      socket.end();
      resolve(
        createHash("sha256")
          .update(publicKey.export({ type: "spki", format: "der" }))
          .digest("base64"),
      );
    });
    socket.on("error", reject);
  });
}

/** A page of a browser that nobody has used yet, and what went wrong in it. */
export interface Visit {
  page: Page;
  /** Errors and warnings of the console, and requests to other servers: none of them is expected. */
  complaints: string[];
}

/** Visits with this login, as if typed into the browser's own dialog: once, and given up where it is wrong. */
export async function visit(
  browser: Browser,
  url: string,
  user: Credentials | undefined,
  options: BrowserContextOptions = {},
): Promise<Visit> {
  const login = user ? { httpCredentials: { username: user.name, password: user.password } } : {};
  const context = await browser.newContext({ viewport: { width: 1280, height: 720 }, ...login, ...options });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", ({ message }) => complaints.push(message));
  page.on("request", (request) => {
    if (!request.url().startsWith(url)) complaints.push(`asks ${request.url()}`);
  });
  await page.goto(url);
  return { page, complaints };
}
