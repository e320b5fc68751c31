import { link, mkdir, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { STATE_FILES } from "../../components/localstack/layout.ts";
import { type Ended, eventually, exists, type Running, Volume } from "./localstack-volume.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

let volume: Volume;
let localstack: LocalStack;

beforeEach(async () => {
  volume = await Volume.make();
  localstack = await LocalStack.start();
});
afterEach(async () => {
  await volume.stop();
  localstack.stop();
});

/** LocalStack's two pages as it answers them, in the state that a test wants. */
class LocalStack {
  services: Record<string, string> = { s3: "running", sqs: "available", ec2: "disabled" };
  completed = { BOOT: true, START: true, READY: true, SHUTDOWN: false };
  scripts: { stage: string; name: string; state: string }[] = [];
  /** In place of the pages. */
  listener: RequestListener | undefined;
  readonly asked: string[] = [];
  readonly url: string;
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("request", (request, response) => {
      this.asked.push(request.url ?? "");
      if (this.listener) return this.listener(request, response);
      const page = request.url === "/_localstack/health" ? { services: this.services } : this.init();
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify(page));
    });
  }

  static async start(): Promise<LocalStack> {
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    return new LocalStack(server);
  }

  /** Takes no more requests, as a container that has ended. */
  stop(): void {
    this.server.close();
    this.server.closeAllConnections();
  }

  private init() {
    return { completed: this.completed, scripts: this.scripts };
  }
}

const ANSWERS = { "full.s3": "<Error><Message>{message}</Message></Error>", "full.json": '{"message":"{message}"}' };

function watch(env: Record<string, string | undefined> = {}): Running {
  return volume.run("watch.py", {
    ...volume.environment,
    ...{ STATE: volume.state, COUNTERS: volume.counters, ANSWERS: `${volume.root}/answers.json`, NAMESPACE: "aws" },
    ...{ LOCALSTACK_URL: localstack.url, SERVICES: "s3,sqs", KEEP: "0", INTERVAL: "0.2" },
    ...{ LIMIT: String(40 * MIB), RESERVE: String(10 * MIB), KEEP_FREE: String(MIB), ...env },
  });
}

async function started(env: Record<string, string | undefined> = {}, answers: unknown = ANSWERS): Promise<Running> {
  await writeFile(`${volume.root}/answers.json`, JSON.stringify(answers));
  const running = watch(env);
  await eventually(() => exists(`${volume.state}/metrics.txt`), Boolean);
  return running;
}

const told = (name: string): Promise<string> => readFile(`${volume.state}/${name}`, "utf8").catch(() => "");
const flag = (name: string): Promise<boolean> => exists(`${volume.state}/${name}`);
const healthy = (): Promise<boolean> => flag(STATE_FILES.healthy);
const reason = async (): Promise<string> => (await told(STATE_FILES.reason)).trimEnd();
const health = async () => JSON.parse(await told(STATE_FILES.health));
/** The value of a line of the metrics. */
const metric = async (line: string): Promise<number | undefined> => {
  const found = (await told(STATE_FILES.metrics))
    .split("\n")
    .find((one) => one.startsWith(`homecloud_localstack_${line} `));
  return found === undefined ? undefined : Number(found.split(" ").at(-1));
};
const fill = (name: string, bytes: number) => writeFile(`${volume.volume}/${name}`, Buffer.alloc(bytes, 1));

describe("the volume", () => {
  test("is measured as du does, links once and holes not at all", async () => {
    await mkdir(`${volume.volume}/a/b/c`, { recursive: true });
    for (let i = 0; i < 50; i++) await fill(`a/b/file-${i}`, 1000 * i);
    await link(`${volume.volume}/a/b/file-49`, `${volume.volume}/a/b/c/link`);
    await fill("a/holes", 1);
    await truncate(`${volume.volume}/a/holes`, GIB);
    await started();
    const { stdout } = await execa("du", ["-s", "--block-size=1", volume.volume]);
    expect(await metric("used_bytes")).toBe(Number.parseInt(stdout, 10));
  });

  test("fills: writes are refused with the figures from the reserve on, cut at the limit, and let in again", async () => {
    await started();
    await eventually(
      () => flag("full"),
      (full) => !full,
    );
    await fill("objects", 31 * MIB);
    await eventually(() => flag("full"), Boolean);
    const message =
      /LocalStack's storage is full: 31\.\d MiB of 40\.0 MiB are used \(writes stop 10\.0 MiB below the limit\); delete objects, messages, items or functions to go on/;
    expect(await told("full.s3")).toMatch(new RegExp(`^<Error><Message>${message.source}</Message></Error>\n$`));
    expect(JSON.parse(await told("full.json"))).toEqual({ message: expect.stringMatching(message) });
    expect(await metric("full")).toBe(1);
    expect(await flag("over")).toBe(false);

    await fill("more", 10 * MIB);
    await eventually(() => flag("over"), Boolean);
    expect(await told("full.s3")).toContain("41.");
    expect(await flag("full")).toBe(true);

    await rm(`${volume.volume}/more`);
    await rm(`${volume.volume}/objects`);
    await eventually(
      () => flag("full"),
      (full) => !full,
    );
    expect(await flag("over")).toBe(false);
    expect(await metric("full")).toBe(0);
    expect(await healthy(), "a full storage is no illness").toBe(true);
  });

  test("counts the images of functions, and says so where they are the reason", async () => {
    await writeFile(`${volume.state}/${STATE_FILES.lambdaImages}`, `${35 * MIB}\n`);
    await started({ LAMBDA_IMAGES_LIMIT: String(64 * MIB) });
    await eventually(
      () => told("full.s3"),
      (text) => /35\.\d MiB of 40\.0 MiB are used \(35\.0 MiB of them by images of functions; writes stop/.test(text),
    );
    expect(await metric("lambda_images_bytes")).toBe(35 * MIB);
    expect(await metric("lambda_images_limit_bytes")).toBe(64 * MIB);
    await rm(`${volume.state}/${STATE_FILES.lambdaImages}`);
    await eventually(
      () => flag("full"),
      (full) => !full,
    );
  });

  test("is full, too, where the node's disk runs low, and over at half of that", async () => {
    await started({ KEEP_FREE: String(2 ** 60) });
    await eventually(
      () => told("full.s3"),
      (text) => /storage is full: the node's disk has only [\d.]+ GiB left; delete/.test(text),
    );
    expect(await flag("over")).toBe(true);
    expect(await metric("disk_free_bytes")).toBeGreaterThan(0);
  });

  test("is full until it is known, and not ready", async () => {
    await rename(volume.volume, `${volume.root}/away`);
    const running = await started();
    await eventually(reason, (text) => /^the volume cannot be measured: .*No such file/.test(text));
    expect(await flag("full")).toBe(true);
    expect(await told("full.s3")).toContain("storage has not been measured yet; try again in a few seconds");
    expect(await healthy()).toBe(false);
    await rename(`${volume.root}/away`, volume.volume);
    await eventually(
      () => flag("full"),
      (full) => !full,
    );
    await eventually(healthy, Boolean);
    running.kill("SIGTERM");
    const { stderr } = await running.ended;
    expect(stderr.match(/the volume cannot be measured/g), "said once").toHaveLength(1);
  });

  test("that cannot be measured any more stays what it was, and the metrics stay fresh", async () => {
    await fill("objects", 31 * MIB);
    await started();
    await eventually(() => flag("full"), Boolean);
    await rename(volume.volume, `${volume.root}/away`);
    await eventually(reason, (text) => text.startsWith("the volume cannot be measured"));
    expect(await flag("full")).toBe(true);
    expect(await health()).toMatchObject({ status: "fail", checks: { volume: "fail", localstack: "pass" } });
    const { mtimeMs } = await stat(`${volume.state}/metrics.txt`);
    await eventually(
      async () => (await stat(`${volume.state}/metrics.txt`)).mtimeMs,
      (time) => time > mtimeMs,
    );
  });

  test("of many files is walked a quarter of the time at most, and not at all while nothing changes", async () => {
    for (let folder = 0; folder < 10; folder++) {
      await mkdir(`${volume.volume}/many/${folder}`, { recursive: true });
      await Promise.all(Array.from({ length: 2000 }, (_, i) => writeFile(`${volume.volume}/many/${folder}/${i}`, "x")));
    }
    const running = await started({ LIMIT: String(GIB), INTERVAL: "0.01", SERVICES: "s3" });
    const cpu = async () => {
      const fields = (await readFile(`/proc/${running.pid}/stat`, "utf8")).split(" ");
      return (Number(fields[13]) + Number(fields[14])) / 100;
    };
    const seconds = (await metric("measure_seconds")) ?? 0;
    const end = performance.now() + 6000;
    const before = await cpu();
    for (let round = 0; performance.now() < end; round++) {
      await fill("changing", (1 + (round % 7)) * MIB);
      await sleep(50);
    }
    const share = ((await cpu()) - before) / 6;
    console.log(`20,000 files: a walk takes ${seconds.toFixed(2)} s; ${(100 * share).toFixed(0)} % of a processor`);
    expect(share).toBeLessThan(0.6);
  });
});

describe("LocalStack", () => {
  test("is healthy when it answers, its services are there and its start is over", async () => {
    await started();
    await eventually(healthy, Boolean);
    expect(await told(STATE_FILES.reason)).toBe("");
    expect(await health()).toEqual({
      status: "pass",
      checks: { localstack: "pass", services: "pass", init: "pass", volume: "pass" },
      services: { s3: "running", sqs: "available", ec2: "disabled" },
      init: [],
      notes: [],
    });
  });

  const logs = "see kubectl -n aws logs deploy/localstack -c localstack";
  test.each<[what: string, change: (it: LocalStack) => void, why: string, checks: object]>([
    ["does not answer yet", (it) => it.stop(), "LocalStack is starting", { localstack: "fail" }],
    [
      "has not begun its last stage",
      (it) => Object.assign(it.completed, { READY: false }),
      "LocalStack is starting",
      { localstack: "pass", services: "pass", init: "fail" },
    ],
    [
      "runs an init script",
      (it) => {
        it.completed.READY = false;
        it.scripts = [{ stage: "READY", name: "10-bucket.sh", state: "RUNNING" }];
      },
      "LocalStack is starting: the init script /etc/localstack/init/ready.d/10-bucket.sh is running",
      { init: "fail" },
    ],
    [
      "is ready, but an init script has failed",
      (it) => {
        it.scripts = [
          { stage: "BOOT", name: "0.sh", state: "UNKNOWN" },
          { stage: "READY", name: "10-bucket.sh", state: "ERROR" },
          { stage: "READY", name: "20.py", state: "SUCCESSFUL" },
        ];
      },
      `the init script /etc/localstack/init/ready.d/10-bucket.sh failed: ${logs}`,
      { localstack: "pass", services: "pass", init: "fail" },
    ],
    [
      "has a service that failed",
      (it) => Object.assign(it.services, { sqs: "error" }),
      `the service sqs failed to start: ${logs}`,
      { localstack: "pass", services: "fail", init: "pass" },
    ],
    [
      "has a service switched off that is asked for",
      (it) => Object.assign(it.services, { sqs: "disabled" }),
      "the service sqs is disabled in LocalStack",
      { services: "fail" },
    ],
    [
      "lacks a service that is asked for",
      (it) => {
        it.services = { s3: "running" };
      },
      "LocalStack has no service sqs",
      { services: "fail" },
    ],
    [
      "answers with something else",
      (it) => {
        it.listener = (_, response) => response.end("<html>");
      },
      "LocalStack is starting",
      { localstack: "fail" },
    ],
    [
      "answers with an error that looks like its page",
      (it) => {
        it.listener = (_, response) => {
          response.statusCode = 500;
          response.end(JSON.stringify({ services: it.services, completed: it.completed, scripts: [] }));
        };
      },
      "LocalStack is starting",
      { localstack: "fail" },
    ],
  ])("%s: it is not ready, and why", async (_, change, why, checks) => {
    change(localstack);
    await started();
    // Before its first ask the watch says that LocalStack is starting, which some of these go on saying.
    await vi.waitFor(async () => expect(await health()).toMatchObject({ status: "fail", checks }), { timeout: 60_000 });
    await eventually(reason, (text) => text === why);
    expect(await healthy()).toBe(false);
  });

  test("that misses two answers stays ready; three are too many, and one answer brings it back", async () => {
    let missing = 0;
    await started();
    await eventually(healthy, Boolean);
    const miss = (count: number) => {
      missing = count;
      localstack.listener = (_, response) => {
        missing--;
        if (missing <= 0) localstack.listener = undefined;
        response.statusCode = 503;
        response.end();
      };
    };
    miss(2);
    for (let look = 0; look < 80; look++) {
      expect(await healthy()).toBe(true);
      await sleep(50);
    }
    expect(missing).toBe(0);
    miss(6);
    await eventually(reason, (text) => text === `LocalStack does not answer: ${logs}`);
    await eventually(
      () => metric("up"),
      (up) => up === 0,
    );
    await eventually(healthy, Boolean);
  });

  test.each<[how: string, listener: RequestListener]>([
    ["says nothing", () => undefined],
    [
      "says one letter a second",
      (_, response) => {
        const timer = setInterval(() => response.write("{"), 1000);
        response.on("close", () => clearInterval(timer));
      },
    ],
  ])("that hangs and %s is found out, and the measuring goes on meanwhile", async (_, listener) => {
    await started();
    await eventually(healthy, Boolean);
    let asks = 0;
    localstack.listener = (asked, response) => {
      asks += 1;
      return listener(asked, response);
    };
    await fill("objects", 31 * MIB);
    await eventually(() => flag("full"), Boolean);
    expect(asks, "not after the asks").toBeLessThanOrEqual(1);
    await eventually(healthy, (yes) => !yes);
    expect(asks, "three asks that hang").toBeLessThanOrEqual(4);
    localstack.listener = undefined;
    await eventually(healthy, Boolean);
  });

  test("is asked for its init scripts while it starts, and hardly later: it logs that question", async () => {
    localstack.completed.READY = false;
    await started();
    const asks = () => localstack.asked.filter((path) => path === "/_localstack/init").length;
    await eventually(
      async () => asks(),
      (count) => count >= 3,
    );
    localstack.completed.READY = true;
    await eventually(healthy, Boolean);
    const before = asks();
    await sleep(4000);
    expect(asks()).toBe(before);
    expect(localstack.asked.length).toBeGreaterThan(before * 2 + 2);
  });
});

describe("metrics", () => {
  test("are what Prometheus reads, each with its help and type", async () => {
    localstack.scripts = [
      { stage: "READY", name: "a.sh", state: "SUCCESSFUL" },
      { stage: "READY", name: "b.sh", state: "SUCCESSFUL" },
      { stage: "START", name: "00-homecloud-saving.py", state: "SUCCESSFUL" },
      { stage: "READY", name: "00-homecloud-wake_lambda.py", state: "SUCCESSFUL" },
    ];
    localstack.services['odd"\\\n'] = "running";
    await started({ KEEP: "1", LAMBDA_IMAGES_LIMIT: "5" });
    await eventually(
      () => metric("healthy"),
      (value) => value === 1,
    );
    const lines = (await told("metrics.txt")).trimEnd().split("\n");
    const names = new Set<string>();
    for (const line of lines) {
      if (line.startsWith("# HELP ")) continue;
      const [, declared] = /^# TYPE (homecloud_localstack_[a-z_]+) (gauge|counter)$/.exec(line) ?? [];
      if (declared) {
        expect(names).not.toContain(declared);
        names.add(declared);
        continue;
      }
      const [, name] =
        /^(homecloud_localstack_[a-z_]+)(?:\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})? [\d.e+-]+$/.exec(line) ?? [];
      expect(names, line).toContain(name);
    }
    expect([...names].map((name) => name.replace("homecloud_localstack_", "")).toSorted()).toEqual([
      ...["disk_free_bytes", "full", "healthy", "init_scripts", "lambda_images_bytes", "lambda_images_limit_bytes"],
      ...["limit_bytes", "measure_seconds", "metrics_timestamp_seconds", "refused_total", "requests_total"],
      ...["service_errors_total", "service_requests_total", "service_state", "state_kept_age_seconds"],
      ...["state_mended", "up", "used_bytes"],
    ]);
    expect(await metric('service_state{service="ec2",state="disabled"}')).toBe(1);
    expect(await metric('init_scripts{state="successful"}')).toBe(2);
    expect(await metric("limit_bytes")).toBe(40 * MIB);
  });

  test("count the gate's events, on and on though the files are emptied and the watch restarts", async () => {
    const counter = (name: string, events: number) => writeFile(`${volume.counters}/${name}`, "\n".repeat(events));
    await counter("requests.2xx", 7);
    await counter("requests.s3", 5);
    await counter("errors.s3", 2);
    await counter("refused", 3);
    const running = await started();
    expect(await metric('requests_total{class="2xx"}')).toBe(7);
    expect(await metric('requests_total{class="5xx"}')).toBe(0);
    expect(await metric('service_requests_total{service="s3"}')).toBe(5);
    expect(await metric('service_errors_total{service="s3"}')).toBe(2);
    expect(await metric("refused_total")).toBe(3);
    const many = 2 ** 20 + 10;
    await counter("requests.2xx", many);
    await eventually(
      async () => (await stat(`${volume.counters}/requests.2xx`)).size,
      (size) => size === 0,
    );
    await counter("requests.2xx", 4);
    await eventually(
      () => metric('requests_total{class="2xx"}'),
      (count) => count === many + 4,
    );
    running.kill("SIGKILL");
    await running.ended;
    await rm(`${volume.state}/metrics.txt`);
    await started();
    expect(await metric('requests_total{class="2xx"}')).toBe(many + 4);
  });
});

describe("the process", () => {
  test.each<NodeJS.Signals>(["SIGTERM", "SIGINT"])(
    "ends at once with %s, also while LocalStack hangs",
    async (signal) => {
      const asks: number[] = [];
      let patience: number | undefined;
      localstack.listener = (_, response) => {
        const begun = performance.now();
        asks.push(begun);
        response.on("close", () => {
          patience ??= performance.now() - begun;
        });
      };
      const running = await started({ KEEP: "1" });
      await eventually(async () => asks.length > 1, Boolean);
      const begun = performance.now();
      running.kill(signal);
      expect(await running.ended).toEqual({ stdout: "", stderr: "", exitCode: 0 });
      expect(performance.now() - begun, "it does not wait for the answer").toBeLessThan(patience ?? 0);
    },
  );

  test("says what is missing or wrong in its settings in one sentence", async () => {
    await writeFile(`${volume.root}/answers.json`, "[]");
    const ended = (env: Record<string, string | undefined>): Promise<Ended> => watch(env).ended;
    expect(await ended({ LIMIT: undefined, NAMESPACE: "" })).toEqual({
      stdout: "",
      stderr: "watch.py: not set: LIMIT, NAMESPACE",
      exitCode: 1,
    });
    expect(await ended({ LIMIT: "20Gi" })).toMatchObject({ stderr: "watch.py: LIMIT is no number: 20Gi", exitCode: 1 });
    await writeFile(`${volume.root}/answers.json`, "{");
    expect((await ended({})).stderr).toMatch(/^watch\.py: ANSWERS cannot be read: .+$/);
  });

  test("goes on after an error, which it says once", async () => {
    const running = await started();
    await eventually(healthy, Boolean);
    await rename(volume.state, `${volume.root}/away`);
    await sleep(3000);
    await rename(`${volume.root}/away`, volume.state);
    await rm(`${volume.state}/metrics.txt`);
    await rm(`${volume.state}/healthy`);
    await eventually(() => flag("metrics.txt"), Boolean);
    await eventually(healthy, Boolean);
    running.kill("SIGTERM");
    const { stderr } = await running.ended;
    for (const loop of ["measuring", "asking"])
      expect(
        stderr.match(new RegExp(`^${loop} failed, and is tried again: FileNotFoundError: `, "gm"))?.length,
      ).toBeLessThan(3);
  });

  test("writes files whole or not at all", async () => {
    localstack.services = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`service${i}`, "running"]));
    await started({ SERVICES: "service1", INTERVAL: "0.01" });
    await eventually(healthy, Boolean);
    const end = performance.now() + 4000;
    while (performance.now() < end) {
      expect((await told("metrics.txt")).endsWith("\n")).toBe(true);
      expect(Object.keys((await health()).services)).toHaveLength(2000);
    }
  });

  test("rests in little memory", async () => {
    const running = await started({ KEEP: "1" });
    await eventually(healthy, Boolean);
    await sleep(3000);
    const status = await readFile(`/proc/${running.pid}/status`, "utf8");
    const megabytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]) / 1024;
    console.log(
      `the watch at rest: ${megabytes("VmRSS").toFixed(1)} MiB, ${megabytes("RssAnon").toFixed(1)} MiB of its own`,
    );
    expect(megabytes("RssAnon")).toBeLessThan(16);
  });
});
