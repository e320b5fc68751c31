import { Listr, ListrLogger, ProcessOutput } from "listr2";
import type { Criterion } from "./criterion.ts";
import type { Row } from "./measure.ts";

/**
 * Measures one criterion after the other and shows how it goes, on the error stream: with spinners on a terminal, as lines
 * elsewhere, not at all when quiet. What fails stops none of the others.
 */
export async function inTurn(
  criteria: readonly Criterion[],
  measured: (criterion: Criterion, tell: (text: string) => void) => Promise<Row>,
  { quiet }: { quiet: boolean },
): Promise<Row[]> {
  const rows: Row[] = [];
  const tasks = criteria.map((criterion) => ({
    title: criterion.title,
    // biome-ignore lint/suspicious/noExplicitAny: listr2's own default for the types of renderers
    task: async (_: unknown, task: any) => {
      const row = await measured(criterion, (text) => {
        if (process.stderr.isTTY) task.output = text;
      });
      rows.push(row);
      if (row.passed === undefined) task.skip(row.measured);
      else if (row.passed) task.title = `${criterion.title}: ${row.measured}`;
      else throw new Error(row.measured);
    },
  }));
  const logger = new ListrLogger({ processOutput: new ProcessOutput(process.stderr, process.stderr) });
  const listr = new Listr(tasks, {
    exitOnError: false,
    renderer: quiet ? "silent" : process.stderr.isTTY ? "default" : "simple",
    rendererOptions: { logger, collapseErrors: false, collapseSkips: false },
    // Ctrl-C is the command's: what was made has to go first.
    registerSignalListeners: false,
  });
  await listr.run();
  return rows;
}
