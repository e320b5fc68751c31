/** When a test file ran, on which worker. Milliseconds from the start of the run. */
export interface FileTiming {
  file: string;
  project: string;
  worker: number;
  start: number;
  end: number;
}

export interface TestTiming {
  file: string;
  test: string;
  milliseconds: number;
}

/** Where the time of a run went, as CI keeps it. */
export interface Timings {
  /** Milliseconds from the start of the run, its global setup included, to its end. */
  wall: number;
  files: FileTiming[];
  tests: TestTiming[];
}

const SLOWEST = 20;

/** The wall time of each file and the slowest tests, for people. */
export function describeTimings({ wall, files, tests }: Timings): string {
  const byTime = files.toSorted((a, b) => b.end - b.start - (a.end - a.start));
  const slowest = tests.toSorted((a, b) => b.milliseconds - a.milliseconds).slice(0, SLOWEST);
  const row = (milliseconds: number, text: string) => `${seconds(milliseconds).padStart(9)}  ${text}`;
  return [
    `Wall time of ${files.length} files, ${seconds(wall)} in all:`,
    ...byTime.map(({ file, project, start, end }) => row(end - start, project ? `${file} (${project})` : file)),
    `Slowest of ${tests.length} tests:`,
    ...slowest.map(({ file, test, milliseconds }) => row(milliseconds, `${file} > ${test}`)),
  ].join("\n");
}

const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;
