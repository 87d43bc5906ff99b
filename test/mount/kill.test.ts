// kill -9, in the middle of writing: nothing that was acknowledged is lost, whichever process dies, and who uses the volume notices no more than
// what the promises say.

import type { ExecutionContext } from 'ava';
import { Client } from '../fuse/client.js';
import { fioArguments, noFio } from '../support/fio.js';
import { threeRanges, type DiaryRange } from '../support/mounted-diary.js';
import { digestOf, waitUntil } from '../support/mounted-commands.js';
import { fileSystemKillPart, fioKillPart } from '../torture/fio-kill-part.js';
import { runPart } from '../torture/part.js';
import { MIB, mountTest, mounted, type GatewayOptions, type TestGateway } from '../support/mounted.js';

const VOLUME_BYTES = 32 * MIB;
const WRITES = 150;

async function progress(ranges: readonly DiaryRange[], writes = WRITES): Promise<void> {
  await Promise.all(ranges.map((range) => range.progress(writes)));
}

/** Compares all ranges with their diaries. */
async function nothingIsLost(t: ExecutionContext, ranges: readonly DiaryRange[], path?: string): Promise<void> {
  const client = new Client();
  try {
    for (const range of ranges) t.is(await range.difference(client, path), undefined);
  } finally {
    await client.close();
  }
}

/** The last word: what is flushed to the backing file is what the volume was. */
async function backingEndsLikeVolume(t: ExecutionContext, gateway: TestGateway): Promise<void> {
  const shown = await digestOf(gateway.volume, { direct: true });
  await gateway.umount('--flush');
  t.is(await digestOf(gateway.backing), shown);
}

for (const options of [
  { cacheOn: 'memory', dataCrc: false },
  // Collected all the time, so that killing hits the collector too.
  { cacheOn: 'disk', dataCrc: true, mountOptions: 'gc_percent=0' },
] as const satisfies GatewayOptions[]) {
  const where = `cache ${options.cacheOn === 'memory' ? 'in memory' : 'on disk'}, data CRC ${options.dataCrc ? 'on' : 'off'}`;

  mountTest(`supervisor and engine killed together lose nothing that was acknowledged (${where})`, undefined, async (t) => {
    const gateway = await mounted(t, { ...options, volumeBytes: VOLUME_BYTES });
    const ranges = threeRanges(gateway);
    for (let round = 0; round < 3; round++) {
      for (const range of ranges) range.start();
      await progress(ranges);
      process.kill(gateway.pids.supervisor, 'SIGKILL');
      process.kill(gateway.pids.engine, 'SIGKILL');
      for (const range of ranges) t.not(await range.failure(), 'none');
      await waitUntil(() => gateway.processes().length === 0, 'both are gone');
      if (gateway.isMounted)
        t.regex(await gateway.ok('umount', gateway.mountpoint), /the daemon was dead already; its mount is cleaned up\nits log is /);
      await gateway.mount();
      await nothingIsLost(t, ranges);
    }
    await backingEndsLikeVolume(t, gateway);
  });
}

mountTest('the engine killed again and again: writers see no error and lose nothing', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  const ranges = threeRanges(gateway);
  for (const range of ranges) range.start();
  for (let death = 1; death <= 4; death++) {
    await progress(ranges);
    process.kill((await gateway.status()).engine_pid, 'SIGKILL');
  }
  await progress(ranges);
  for (const range of ranges) await range.stop();
  t.is((await gateway.status()).engine_restarts, 4);
  await nothingIsLost(t, ranges);
  await backingEndsLikeVolume(t, gateway);
});

mountTest('fio at depth 16, on a volume four times the cache, does not notice that the engine is killed', noFio, async (t) => {
  const gateway = await mounted(t);
  const job = {
    rw: 'randwrite',
    bsrange: '512-256k',
    ioengine: 'libaio',
    direct: 1,
    iodepth: 16,
    size: gateway.volumeBytes,
    io_size: 512 * MIB,
  };
  const writing = gateway.startProgram('fio', fioArguments(gateway.volume, { ...job, verify: 'crc32c', verify_fatal: 1 }));
  let deaths = 0;
  while (deaths < 3) {
    let enginePid = 0;
    await waitUntil(async () => {
      const { write_bytes, engine_pid } = await gateway.status();
      enginePid = engine_pid;
      return write_bytes > MIB || writing.ended;
    }, 'fio writes');
    // A fast machine may be done before the third.
    if (writing.ended) break;
    process.kill(enginePid, 'SIGKILL');
    deaths++;
  }
  t.true(deaths > 0, 'the engine was killed while fio was writing');
  const { status, stdout } = await writing.finished(60_000);
  t.is(status, 0, stdout);
  await waitUntil(async () => (await gateway.status()).engine_restarts === deaths, 'the last engine serves');
  t.like(await gateway.status(), { engine_restarts: deaths, read_errors: 0, write_errors: 0 });
  await backingEndsLikeVolume(t, gateway);
});

for (const part of [fioKillPart, fileSystemKillPart]) {
  // What `npm run torture` does for longer.
  mountTest(`${part.name}: at random moments, no I/O error and nothing lost`, part.lacks, async (t) => {
    const result = await runPart({ ...part, triesMax: 6 }, undefined, 1, 15_000, new AbortController().signal);
    t.is(result.problem, undefined);
    t.true(result.tried > 0);
    t.log(result.details);
  });
}

mountTest(
  'the supervisor killed: the mount goes in order, no process stays, and the data are there at the next mount',
  undefined,
  async (t) => {
    const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
    const ranges = threeRanges(gateway);
    for (const range of ranges) range.start();
    await progress(ranges);
    process.kill(gateway.pids.supervisor, 'SIGKILL');
    for (const range of ranges) t.not(await range.failure(), 'none');
    await waitUntil(() => gateway.processes().length === 0 && !gateway.isMounted, 'engine and mount are gone');
    t.regex(gateway.log(), /the supervisor is gone/);
    t.true((JSON.parse(await gateway.ok('--json', 'status', gateway.cache)) as { closed_in_order: boolean }).closed_in_order);
    await gateway.mount();
    await nothingIsLost(t, ranges);
    await backingEndsLikeVolume(t, gateway);
  },
);
