import { readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { run } from '../../bench/command.js';
import { MIB } from '../../bench/fio.js';
import { lacksTransport, type Transport } from '../../bench/gateway.js';
import { lacksFuse } from '../../bench/machine.js';
import { IMAGE_NAME } from '../../bench/null-files.js';
import { startNullTransport } from '../../bench/null-transport.js';
import { Workspace, noMemoryFolder } from '../../bench/workspace.js';
import { readMounts } from '../../src/fuse/mountinfo.js';

const SIZE_BYTES = 512 * MIB;
const LONG_MS = 60_000;

/** The kernel's switch is changed for nobody here. */
function lacks(transport: Transport): string | undefined {
  const missing = lacksFuse() ?? noMemoryFolder() ?? lacksTransport(transport);
  if (missing !== undefined || transport !== 'io-uring') return missing;
  return readFileSync('/sys/module/fuse/parameters/enable_uring', 'latin1').startsWith('Y') ? undefined : 'FUSE over io_uring is off';
}

for (const transport of ['dev-fuse', 'io-uring'] as const) {
  const missing = lacks(transport);
  const declare = missing === undefined ? test : test.skip;
  const why = missing === undefined ? '' : ` (skipped: ${missing})`;

  declare(`${transport} alone gives back what was written, and nothing of it is left when it is told to end${why}`, async (t) => {
    t.timeout(2 * LONG_MS);
    const { signal } = new AbortController();
    const workspace = new Workspace(signal);
    try {
      const file = await startNullTransport(workspace, 'alone', transport, SIZE_BYTES);
      t.is(basename(file), IMAGE_NAME);
      const dd = (...args: readonly string[]): Promise<string> => run('dd', [...args, 'status=none'], { timeoutMs: LONG_MS, signal });
      const [source, back] = [join(workspace.disk, 'source'), join(workspace.disk, 'back')];
      await dd('if=/dev/urandom', `of=${source}`, 'bs=1M', 'count=9');
      // The last bytes there are, in requests large and small.
      await dd(`if=${source}`, `of=${file}`, 'bs=1M', 'seek=503', 'oflag=direct', 'conv=notrunc');
      await dd(`if=${file}`, `of=${back}`, 'bs=4k', `skip=${503 * 256}`, 'iflag=direct');
      t.true(readFileSync(source).equals(readFileSync(back)));
      await t.throwsAsync(dd(`if=${source}`, `of=${file}`, 'bs=1M', 'seek=512', 'oflag=direct', 'conv=notrunc'), {
        message: /No space left/,
      });

      const [pid] = workspace.processesOf('alone');
      process.kill(pid!, 'SIGTERM');
      const endMs = performance.now() + LONG_MS;
      while (workspace.processesOf('alone').length > 0 && performance.now() < endMs) await delay(20);
      t.deepEqual(workspace.processesOf('alone'), []);
      t.false(readMounts().some(({ mountpoint }) => mountpoint === dirname(file)));
    } finally {
      t.deepEqual(await workspace.dispose(), []);
    }
  });
}
