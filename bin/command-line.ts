// The program of the command `pcache`. The one place of the command line where the process ends: everything below returns a status or throws.

import { startEarlySupervisor } from '../src/cli/early-supervisor.js';

// Whoever reads our output may stop reading (`pcache status | head -1`); what is left unsaid was not wanted.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    // A full disk, say. If it is stderr itself there is nobody to tell.
    if (stream !== process.stderr) process.stderr.write(`pcache: output: ${error.message}\n`);
    process.exit(1);
  });
}

async function run(args: readonly string[]): Promise<void> {
  // Before the rest is loaded, which goes on beside it.
  startEarlySupervisor(args);
  const [{ main }, { outputTaken }] = await Promise.all([import('../src/cli/main.js'), import('../src/cli/drain.js')]);
  const status = await main(args);
  // What a pipe has not taken yet would be lost.
  await outputTaken();
  process.exit(status);
}

void run(process.argv.slice(2));
