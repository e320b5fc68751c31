import { chmod, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { eventually, exists, Volume } from "./localstack-volume.ts";

let volume: Volume;

beforeEach(async () => {
  volume = await Volume.make();
});
afterEach(() => volume.stop());

const STORE = "sqs/store.json";
const TENTHS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const items = (count: number) => Array.from({ length: count }, (_, i) => ({ key: `k${i}`, text: 'a "b"\\\n é {[', i }));
const stateOf = (count: number) => Buffer.from(JSON.stringify({ v: 1, data: { queue: items(count) } }));

/** Python's, as Node makes neither. The database has many pages, as DynamoDB's. */
const PICKLE = `
import pickle
print((b"p" + pickle.dumps({"items": [{"key": f"k{i}", "value": b"x" * 200} for i in range(500)]})).hex())
`;
const DATABASE = `
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("create table items (key text primary key, value blob)")
database.executemany("insert into items values (?, ?)", ((f"k{i}", os.urandom(300)) for i in range(1000)))
database.commit()
`;
/** Writes more than its cache holds and is killed before the end of the transaction. */
const CUT_TRANSACTION = `
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("pragma cache_size = 2")
database.execute("update items set value = zeroblob(300)")
os.kill(os.getpid(), signal.SIGKILL)
`;
const COUNT = `
import sqlite3, sys
print(*sqlite3.connect(sys.argv[1]).execute("select count(*), sum(value = zeroblob(300)) from items").fetchone())
`;

async function makeDatabase(): Promise<Buffer> {
  const path = `${volume.root}/made.db`;
  await volume.python(DATABASE, path);
  return readFile(path);
}

const KINDS: [name: string, make: () => Promise<Buffer>][] = [
  [STORE, async () => stateOf(200)],
  ["lambda/store.pkl", async () => Buffer.from(await volume.python(PICKLE), "hex")],
  ["dynamodb/000000000000_us-east-1.db", makeDatabase],
  ["dynamodb/assets/000000000000_us-east-1.db", makeDatabase],
];

describe("a damaged state file", () => {
  test.each(KINDS)("%s, cut at any tenth of its length: its copy takes its place", async (name, make) => {
    const good = await make();
    for (const tenth of TENTHS) {
      await volume.copy(name, good, 17);
      await volume.save(name, good.subarray(0, (good.length * tenth) / 10), 10);
      const { stdout, stderr, exitCode } = await volume.mend();
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
      const [said, aside] = stdout.split("; the damaged file is ");
      expect(said).toMatch(/ was damaged \(.+\): restored as it was 7 s before$/);
      expect((await stat(aside ?? "")).size).toBe(Math.floor((good.length * tenth) / 10));
      expect((await volume.saved(name)).equals(good)).toBe(true);
      expect((await volume.report()).files).toEqual([
        { file: name, done: "restored", sentence: stdout, age_seconds: 7 },
      ]);
    }
  });

  test("of zeros, as a power cut leaves it, is restored, too", async () => {
    await volume.copy(STORE, stateOf(3));
    await volume.save(STORE, Buffer.alloc(4096));
    expect((await volume.mend()).stdout).toMatch(
      /^sqs\/store\.json was damaged \(it holds bytes that are no text\): restored/,
    );
  });

  test("whose copy is damaged as well, or that has none, goes away: the service starts empty", async () => {
    await volume.copy(STORE, '{"v":1,');
    await volume.save(STORE, '{"v":');
    await volume.save("sns/store.json", "");
    const { stdout, exitCode } = await volume.mend();
    expect(exitCode).toBe(0);
    expect(stdout.split("\n")).toEqual([
      expect.stringMatching(
        /^sns\/store\.json was damaged \(it is empty\) and has no good copy: sns starts empty; the damaged file is /,
      ),
      expect.stringMatching(
        /^sqs\/store\.json was damaged \(.+\) and has no good copy: sqs starts empty; the damaged file is /,
      ),
    ]);
    expect(await exists(`${volume.persisted}/${STORE}`)).toBe(false);
    expect((await volume.report()).files.map(({ done }) => done)).toEqual(["emptied", "emptied"]);
    expect(await volume.damaged()).toHaveLength(2);
  });

  test("does not touch those beside it", async () => {
    const whole = stateOf(5);
    await volume.save("s3/store.json", whole, 60);
    await volume.copy("s3/store.json", stateOf(1), 120);
    await volume.save(STORE, "{");
    const { ino, ctimeMs } = await stat(`${volume.persisted}/s3/store.json`);
    await volume.mend();
    expect(await stat(`${volume.persisted}/s3/store.json`)).toMatchObject({ ino, ctimeMs });
  });

  test("stays for a look at it, five of them at most, the last ones", async () => {
    for (let round = 0; round < 7; round++) {
      await volume.save(`service${round}/store.json`, "x".repeat(round + 1));
      await volume.mend();
    }
    const damaged = await volume.damaged();
    expect(damaged.map((name) => name.replace(/^\d{8}-\d{6}\.\d{6}-/, ""))).toEqual(
      [2, 3, 4, 5, 6].map((round) => `service${round}-store.json`),
    );
  });

  test("is forgotten by the report at the next start", async () => {
    await volume.save(STORE, "{");
    await volume.mend();
    expect((await volume.mend()).stdout).toBe("every state file can be read (0)");
    expect((await volume.report()).files).toEqual([]);
  });
});

describe("what is not damaged", () => {
  test("any JSON, and no beginning of one is taken for it", async () => {
    const texts = fc.sample(fc.jsonValue({ maxDepth: 5 }), { numRuns: 300, seed: 1 }).map((value, at) => {
      const text = JSON.stringify({ v: 1, data: value }, undefined, at % 3 === 0 ? 1 : undefined);
      return at % 2 === 0
        ? text
        : text.replace(/[^\x20-\x7e\n]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
    });
    for (const [at, text] of texts.entries()) await volume.save(`s${at}/store.json`, text);
    expect((await volume.mend()).stdout).toBe("every state file can be read (300)");
    for (const [at, text] of texts.entries())
      await volume.save(`s${at}/store.json`, text.slice(0, -1 - (at % (text.length - 1))));
    expect((await volume.mend()).stdout.match(/was damaged/g)).toHaveLength(300);
  });

  test("a database whose last transaction was cut: it is taken back, and nothing else is lost", async () => {
    const name = "dynamodb/shared.db";
    await volume.save(name, await makeDatabase());
    await volume.python(CUT_TRANSACTION, `${volume.persisted}/${name}`).catch(() => undefined);
    expect(await exists(`${volume.persisted}/${name}-journal`)).toBe(true);
    expect((await volume.mend()).stdout).toBe("every state file can be read (1)");
    expect(await volume.python(COUNT, `${volume.persisted}/${name}`)).toBe("1000 0");
  });

  test("people's objects, whatever they are called", async () => {
    await volume.save("s3/assets/bucket/broken.json", "{");
    await volume.save("s3/assets/broken.json", "{");
    expect((await volume.mend()).stdout).toBe("every state file can be read (0)");
  });

  test("a file that this user may not read: it is left, and said", async () => {
    await volume.copy(STORE, stateOf(1));
    await volume.save(STORE, stateOf(2));
    await chmod(`${volume.persisted}/${STORE}`, 0);
    // Root reads everything unless it gives that up.
    const prelude = process.getuid?.() === 0 ? "exec setpriv --bounding-set=-dac_override,-dac_read_search" : "";
    const { stdout, exitCode } = await volume.mend({ prelude: prelude && `set -- python3 "$@"; ${prelude} "$@";` });
    expect({ stdout, exitCode }).toEqual({
      stdout: "sqs/store.json cannot be read (Permission denied) and was left: sqs starts empty",
      exitCode: 0,
    });
    await chmod(`${volume.persisted}/${STORE}`, 0o600);
    expect((await volume.saved(STORE)).equals(stateOf(2))).toBe(true);
  });
});

describe("a start", () => {
  test("goes on where there is no room for a second copy: the only one takes the place", async () => {
    const good = stateOf(5000);
    await volume.copy(STORE, good, 20);
    await volume.save(STORE, good.subarray(0, 100), 10);
    // No file may grow beyond 16 blocks.
    const { stdout, exitCode } = await volume.mend({ prelude: "ulimit -f 16;" });
    expect(exitCode).toBe(0);
    expect(stdout.split("\n")).toEqual([
      "sqs/store.json: no second copy of it could be made (File too large), the only one takes its place",
      expect.stringMatching(/: restored as it was 10 s before; the damaged file is /),
    ]);
    expect((await volume.saved(STORE)).equals(good)).toBe(true);
    expect(await volume.copied(STORE)).toBeUndefined();
    expect(await readdir(`${volume.persisted}/sqs`)).toEqual(["store.json"]);
  });

  test("goes on where nothing at all can be written, and an old report does not count for it", async () => {
    await volume.save(STORE, "{");
    await volume.mend();
    await volume.save(STORE, "{");
    const { stdout, exitCode } = await volume.mend({ prelude: "ulimit -f 0;" });
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/the report could not be written: .*File too large/);
    expect(await exists(`${volume.kept}/mended.json`)).toBe(false);
  });

  test("goes on where the state cannot be looked at", async () => {
    await rm(volume.persisted, { recursive: true });
    await writeFile(volume.persisted, "");
    const { stdout, exitCode } = await volume.mend();
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^the state files could not be looked at: .*Not a directory/m);
    expect((await volume.report()).files).toEqual([]);
  });

  test("is the first one: nothing is there yet", async () => {
    await rm(volume.volume, { recursive: true });
    await mkdir(volume.volume);
    expect(await volume.mend()).toEqual({ stdout: "every state file can be read (0)", stderr: "", exitCode: 0 });
    expect((await volume.report()).files).toEqual([]);
  });

  test("empties the temporary files, and nothing that holds the state", async () => {
    await mkdir(`${volume.scratch}/upload`, { recursive: true });
    await writeFile(`${volume.scratch}/upload/part`, "x");
    await writeFile(`${volume.scratch}/.hidden`, "x");
    await volume.save(STORE, stateOf(1));
    await volume.mend();
    expect(await readdir(volume.scratch)).toEqual([]);
    const { stdout, exitCode } = await volume.mend({ env: { SCRATCH: volume.volume } });
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/could not be emptied: it holds the state$/m);
    expect(await exists(`${volume.persisted}/${STORE}`)).toBe(true);
  });

  test("removes what a killed predecessor had not finished", async () => {
    await volume.save("sqs/.homecloud-store.json", "{");
    await volume.copy("dynamodb/assets/.homecloud-shared.db", "x");
    await volume.mend();
    expect(await readdir(`${volume.persisted}/sqs`)).toEqual([]);
    expect(await readdir(`${volume.kept}/dynamodb/assets`)).toEqual([]);
  });

  test("that is killed at any moment of mending loses nothing: the next one mends", async () => {
    const good = stateOf(40_000);
    const damage = async () => {
      await volume.copy(STORE, good, 20);
      await volume.save(STORE, good.subarray(0, good.length - 1), 10);
    };
    await damage();
    const begun = performance.now();
    await volume.mend();
    const seconds = (performance.now() - begun) / 1000;
    const mended: boolean[] = [];
    for (let round = 1; round <= 8; round++) {
      await damage();
      await volume.mend({ prelude: `(sleep ${(seconds * round) / 8}; kill -KILL $$) & ` });
      mended.push((await volume.saved(STORE)).equals(good));
      expect((await volume.mend()).exitCode).toBe(0);
      expect((await volume.saved(STORE)).equals(good)).toBe(true);
    }
    expect(mended, "some were killed before the end").toContain(false);
  });

  test("with a setting missing, or another command, is told so in one sentence", async () => {
    expect(await volume.mend({ env: { KEPT: undefined, SCRATCH: "" } })).toEqual({
      stdout: "",
      stderr: "keep.py: not set: KEPT, SCRATCH",
      exitCode: 1,
    });
    expect(await volume.mend({ args: [] })).toMatchObject({
      stderr: "keep.py: the only command is `mend`",
      exitCode: 1,
    });
  });
});

describe("keeping copies while LocalStack runs", () => {
  /** The watch, of which only the keeping matters here. */
  async function watch(): Promise<void> {
    await writeFile(`${volume.root}/answers.json`, "{}");
    volume.run("watch.py", {
      ...volume.environment,
      ...{
        STATE: volume.state,
        COUNTERS: volume.counters,
        ANSWERS: `${volume.root}/answers.json`,
        NAMESPACE: "localstack",
      },
      ...{ LOCALSTACK_URL: "http://127.0.0.1:1", SERVICES: "s3", KEEP: "1", INTERVAL: "0.2" },
      ...{ LIMIT: "1000000000000", RESERVE: "0", KEEP_FREE: "0" },
    });
    await eventually(() => exists(`${volume.state}/metrics.txt`), Boolean);
  }
  const metric = async (name: string): Promise<number> => {
    const text = await readFile(`${volume.state}/metrics.txt`, "utf8");
    return Number(new RegExp(`^homecloud_localstack_${name} (.+)$`, "m").exec(text)?.[1]);
  };
  const untilCopied = (name: string, content: Buffer, seconds = 15) =>
    eventually(
      () => volume.copied(name),
      (copy) => copy?.equals(content) === true,
      seconds,
    );

  test("what was saved is copied, and restored from that copy after a cut", async () => {
    await watch();
    for (const count of [10, 20]) {
      await volume.save(STORE, stateOf(count));
      await untilCopied(STORE, stateOf(count));
    }
    await eventually(
      () => metric("state_kept_age_seconds"),
      (age) => age === 0,
    );
    await volume.save(STORE, stateOf(30).subarray(0, 500));
    // As long as the damaged file is there, the copy stays, and its age is told.
    await eventually(
      () => metric("state_kept_age_seconds"),
      (age) => age > 3,
    );
    expect((await volume.copied(STORE))?.equals(stateOf(20))).toBe(true);
    const { stdout } = await volume.mend();
    expect(stdout).toMatch(/: restored as it was \d+ s before; /);
    expect((await volume.saved(STORE)).equals(stateOf(20))).toBe(true);
    await eventually(
      () => metric("state_mended"),
      (count) => count === 1,
    );
    await eventually(
      async () => JSON.parse(await readFile(`${volume.state}/health.json`, "utf8")).notes,
      (notes) => notes[0] === stdout,
    );
    await eventually(
      () => metric("state_kept_age_seconds"),
      (age) => age === 0,
    );
  });

  test("what LocalStack found in S3 at its start is told, too", async () => {
    await volume.save("s3/homecloud-report.txt", "s3://bucket/key was deleted\nand 3 objects more");
    await watch();
    await eventually(
      () => metric("state_mended"),
      (count) => count === 2,
    );
    expect(JSON.parse(await readFile(`${volume.state}/health.json`, "utf8")).notes).toEqual([
      "s3://bucket/key was deleted",
      "and 3 objects more",
    ]);
  });

  test("a file that is written again and again in place is never copied in part", async () => {
    await watch();
    const states = [stateOf(3000), stateOf(4000), stateOf(5000)];
    const end = performance.now() + 15_000;
    const copies = new Set<number>();
    const look = async () => {
      while (performance.now() < end) {
        const copy = await volume.copied(STORE);
        // Every copy that is ever seen is one of those that were saved.
        if (copy) copies.add(states.findIndex((one) => one.equals(copy)));
        await sleep(20);
      }
    };
    const write = async () => {
      for (let round = 0; performance.now() < end; round++) {
        const content = states[round % states.length] ?? Buffer.of();
        await rewrite(`${volume.persisted}/${STORE}`, content, 800);
        await sleep(2500);
      }
    };
    await Promise.all([look(), write()]);
    expect(copies).not.toContain(-1);
    expect(copies.size, "there were copies").toBeGreaterThan(0);
  });

  /** As localstack-persist does: emptied, then written in pieces. */
  async function rewrite(path: string, content: Buffer, milliseconds: number): Promise<void> {
    const pieces = 20;
    await mkdir(path.replace(/\/[^/]*$/, ""), { recursive: true });
    await writeFile(path, "");
    for (let piece = 0; piece < pieces; piece++) {
      const part = content.subarray((content.length * piece) / pieces, (content.length * (piece + 1)) / pieces);
      await writeFile(path, part, { flag: "a" });
      await sleep(milliseconds / pieces);
    }
  }

  test("a copy goes with its file, but not with a volume that is away", async () => {
    await volume.save(STORE, stateOf(1));
    await volume.save("sns/store.json", stateOf(2));
    await watch();
    await untilCopied(STORE, stateOf(1));
    await untilCopied("sns/store.json", stateOf(2));
    await rm(`${volume.persisted}/sns`, { recursive: true });
    await eventually(
      () => volume.copied("sns/store.json"),
      (copy) => copy === undefined,
    );
    await rm(volume.persisted, { recursive: true });
    await sleep(3000);
    expect((await volume.copied(STORE))?.equals(stateOf(1))).toBe(true);
  });

  test("a database is not copied within a transaction, and once in ten minutes only", async () => {
    const name = "dynamodb/shared.db";
    const good = await makeDatabase();
    await volume.save(name, good, 60);
    await writeFile(`${volume.persisted}/${name}-journal`, "x");
    await watch();
    await sleep(3500);
    expect(await volume.copied(name)).toBeUndefined();
    await rm(`${volume.persisted}/${name}-journal`);
    await untilCopied(name, good);
    await utimes(`${volume.persisted}/${name}`, new Date(), new Date());
    await sleep(3500);
    expect((await stat(`${volume.kept}/${name}`)).mtimeMs).toBeLessThan(Date.now() - 30_000);
    expect(await metric("state_kept_age_seconds")).toBe(0);
  });

  test("a large state is copied in little memory", async () => {
    await watch();
    const large = stateOf(1_000_000);
    await volume.save(STORE, large);
    await untilCopied(STORE, large, 60);
    expect(await volume.mostMemory()).toBeLessThan(60 * 2 ** 20);
    console.log(
      `${(large.length / 2 ** 20).toFixed(0)} MiB of state, ${((await volume.mostMemory()) / 2 ** 20).toFixed(0)} MiB`,
    );
  });
});

describe("saving.py, inside LocalStack", () => {
  /** Of localstack-persist, what it puts its hands on: a saving that is killed in the middle when it meets `None`. */
  const SERIALIZER = `
import os
class NAME:
    def __init__(self, path): self.file_path = path
    def serialize(self, items):
        with open(self.file_path, "w") as file:
            for item in items:
                if item is None: file.flush(); os._exit(9)
                file.write(item)
`;
  const SAVE = `
import sys
exec(open(sys.argv[1]).read(), {})
from localstack_persist.serialization.jsonpickle.serializer import JsonPickleSerializer as Serializer
saved = Serializer(sys.argv[2])
saved.serialize(["whole"])
assert saved.file_path == sys.argv[2]
saved.serialize(["half", None])
`;
  const script = new URL("../../components/localstack/saving.py", import.meta.url).pathname;

  test("a kill in the middle of a saving leaves the file of the saving before", async () => {
    const inside = `${volume.root}/inside`;
    for (const [module, name] of [
      ["jsonpickle", "JsonPickleSerializer"],
      ["pickle", "PickleSerializer"],
    ] as const) {
      await mkdir(`${inside}/localstack_persist/serialization/${module}`, { recursive: true });
      const path = `${inside}/localstack_persist/serialization/${module}/serializer.py`;
      await writeFile(path, SERIALIZER.replace("NAME", name));
    }
    await volume.save(STORE, "");
    const path = `${volume.persisted}/${STORE}`;
    const ended = await execa("python3", ["-c", SAVE, script, path], { env: { PYTHONPATH: inside }, reject: false });
    expect(ended.exitCode).toBe(9);
    expect(ended.stderr, "no S3 here: said, and gone on").toMatch(/^let_records_follow_files: ModuleNotFoundError: /);
    expect(await readFile(path, "utf8")).toBe("whole");
  });

  test("where the inside is another, LocalStack starts all the same", async () => {
    const { stderr, exitCode } = await execa("python3", [script], { reject: false });
    expect(exitCode).toBe(0);
    expect(stderr.split("\n")).toEqual([
      expect.stringMatching(/^save_whole_or_not_at_all: ModuleNotFoundError: /),
      expect.stringMatching(/^let_records_follow_files: ModuleNotFoundError: /),
    ]);
  });
});
