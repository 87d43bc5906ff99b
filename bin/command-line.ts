// The program of the command `pcache`. The one place of the command line where the process ends: everything below returns a status or throws.

import { outputTaken } from '../src/cli/drain.js';
import { main } from '../src/cli/main.js';

// Whoever reads our output may stop reading (`pcache status | head -1`); what is left unsaid was not wanted.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
}

void main(process.argv.slice(2)).then(async (status) => {
  // What a pipe has not taken yet would be lost.
  await outputTaken();
  process.exit(status);
});
