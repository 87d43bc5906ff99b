// `npm run bench`: this gateway and what one would use instead, measured in turn on this machine. See docs/performance.md. Exit status 0 if everything
// was measured (met or not: this is no test), 1 if something ended the run early, 2 for wrong usage, 130 after an interrupt.

import { writeFileSync } from 'node:fs';
import { lacksForBench, runBench } from './bench-run.js';
import { chartSvg } from './chart.js';
import { USAGE, parseOptions } from './options.js';
import { ProgressLine } from './progress-line.js';
import { reportText } from './report.js';

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(`${USAGE}\n`);
    return 0;
  }
  if ('wrong' in options) {
    process.stderr.write(`bench: ${options.wrong}\n${USAGE}\n`);
    return 2;
  }
  const lacks = lacksForBench();
  if (lacks !== undefined) {
    process.stderr.write(`bench: ${lacks}\n`);
    return 1;
  }
  const progress = new ProgressLine();
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (!interrupt.signal.aborted) progress.note('bench: interrupted, cleaning up');
      interrupt.abort(new Error('interrupted'));
    });
  }
  const report = await runBench(options, progress, interrupt.signal);
  const text = `${JSON.stringify(report, undefined, 1)}\n`;
  if (options.json === '-') process.stdout.write(text);
  else {
    process.stdout.write(reportText(report));
    if (options.json !== undefined) writeFileSync(options.json, text);
  }
  if (options.svg !== undefined && report.results.length > 0) writeFileSync(options.svg, chartSvg(report));
  return interrupt.signal.aborted ? 130 : report.problem === undefined ? 0 : 1;
}

// Not left to the event loop: a process that hangs in the kernel must not keep this one.
process.exit(await main());
