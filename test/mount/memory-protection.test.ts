// Supervisor and engine protect themselves against shortage of memory, with every thread that they have, as far as they may; and say so if they may not.

import { readFileSync, readdirSync } from 'node:fs';
import { noIoFlusher } from '../support/fault-memory.js';
import { runOk } from '../support/mounted-commands.js';
import { mountTest, mounted } from '../support/mounted.js';

/** Flags of a thread, as the kernel shows them in its stat (proc(5), field 9). */
function flagsOf(pid: number, thread: string): number {
  const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[6]);
}

/** Which flags PR_SET_IO_FLUSHER sets, found by setting it. */
async function ioFlusherFlags(): Promise<number> {
  const script = `
    const { ioFlusher } = await import(process.argv[1]);
    const { readFileSync } = await import('node:fs');
    const flags = () => Number(readFileSync('/proc/thread-self/stat', 'utf8').replace(/^.*\\) /, '').split(' ')[6]);
    const before = flags();
    ioFlusher();
    console.log(flags() & ~before);`;
  const module = new URL('../../src/device/memory-protection.js', import.meta.url).href;
  return Number(await runOk(process.execPath, ['--input-type=module', '-e', script, module]));
}

mountTest('all threads of supervisor and engine are I/O flushers, and the last to be killed for memory', noIoFlusher, async (t) => {
  const gateway = await mounted(t);
  const wanted = await ioFlusherFlags();
  t.not(wanted, 0);
  for (const pid of gateway.processes()) {
    t.is(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim(), '-900');
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      t.is(flagsOf(pid, thread) & wanted, wanted, readFileSync(`/proc/${pid}/task/${thread}/comm`, 'utf8'));
    }
  }
  t.notRegex(gateway.log(), /not protected/);
});

mountTest(
  'a gateway that may not protect itself against shortage of memory says so in one line, and serves',
  noIoFlusher === undefined ? 'may do so here' : undefined,
  async (t) => {
    const gateway = await mounted(t);
    t.is(gateway.log().match(/not protected against shortage of memory: no .*PR_SET_IO_FLUSHER/g)?.length, 1, gateway.log());
    t.is((await gateway.status()).state, 'serving');
  },
);
