// Writing back against what fio gets from the same file on the same disk, turn by turn; and what it costs those who read meanwhile.
//
// The file is written in full first, so that neither side allocates. fio's figure includes an fsync at the end, as writing back includes its flushes.

import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { Gateway } from './gateway.js';
import { MIB, type FioFigures, type FioJob } from './fio.js';
import { pause } from './command.js';
import { fio } from './grid.js';
import type { Measure, MeasureSetting } from './measure.js';
import { median } from './statistics.js';

const VOLUME_BYTES = 1024 * MIB;
const CACHE_BYTES = 1024 * MIB;
/** Of the cache, for one measurement. */
const DIRTY_BYTES_MAX = 256 * MIB;
const DIRECT_SECONDS_MAX = 10;
/** As much dirty data as the disk takes in so long, if it fits. */
const WRITEBACK_SECONDS = 3;
/** What is read meanwhile is here, what is made dirty behind it. */
const CLEAN_BYTES = 256 * MIB;
const POLL_MS = 5;

type Pattern = Pick<FioJob, 'rw' | 'blockBytes' | 'depth'>;
const RANDOM: Pattern = { rw: 'randwrite', blockBytes: 4096, depth: 32 };
const SEQUENTIAL: Pattern = { rw: 'write', blockBytes: MIB, depth: 1 };
const DIRTY_PLACE = { jobs: 1, offsetBytes: CLEAN_BYTES, sizeBytes: VOLUME_BYTES - CLEAN_BYTES };

export async function measureWriteback(setting: MeasureSetting): Promise<Measure[]> {
  const { workspace, isQuick, rounds } = setting;
  const backing = join(workspace.disk, 'writeback.img');
  writeFileSync(backing, '');
  await fio(setting, backing, { ...SEQUENTIAL, jobs: 1, sizeBytes: VOLUME_BYTES, endFsync: true });
  const gateway = await Gateway.create(workspace, {
    name: 'writeback',
    cacheBytes: CACHE_BYTES,
    volumeBytes: VOLUME_BYTES,
    cacheOn: 'memory',
    dataCrc: false,
    transport: 'dev-fuse',
    backing,
  });
  await gateway.mount();
  const randomRates: Rates[] = [];
  const sequentialRates: Rates[] = [];
  for (let i = 0; i < (isQuick ? 1 : rounds); i++) {
    randomRates.push(await compare(setting, gateway, RANDOM));
    sequentialRates.push(await compare(setting, gateway, SEQUENTIAL));
  }
  const foreground = await measureForeground(setting, gateway, randomRates[0]!);
  return [
    measureOf('writeback-random', 'writeback of random 4 KiB against fio randwrite, depth 32', randomRates, 1),
    measureOf('writeback-sequential', 'writeback of sequential data against fio write, 1 MiB', sequentialRates, 0.9),
    foreground,
  ];
}

interface Rates {
  readonly fioBytesPerSecond: number;
  readonly writebackBytesPerSecond: number;
  readonly bytes: number;
}

function measureOf(id: string, title: string, rates: readonly Rates[], least: number): Measure {
  return {
    id,
    title,
    value: median(rates.map((each) => each.writebackBytesPerSecond / each.fioBytesPerSecond)),
    unit: 'x',
    wanted: { bound: 'at least', value: least },
    details: {
      writeback_mib_per_second: median(rates.map((each) => each.writebackBytesPerSecond)) / MIB,
      fio_mib_per_second: median(rates.map((each) => each.fioBytesPerSecond)) / MIB,
      dirty_mib: median(rates.map((each) => each.bytes)) / MIB,
      rounds: rates.length,
    },
  };
}

async function compare(setting: MeasureSetting, gateway: Gateway, pattern: Pattern): Promise<Rates> {
  const job: FioJob = { ...pattern, ...DIRTY_PLACE, bytesMax: DIRTY_BYTES_MAX };
  const direct = await fio(setting, gateway.backing, { ...job, seconds: DIRECT_SECONDS_MAX, endFsync: true });
  await fio(setting, gateway.volume, { ...job, bytesMax: Math.min(DIRTY_BYTES_MAX, direct.bytesPerSecond * WRITEBACK_SECONDS) });
  const startMs = performance.now();
  const bytes = (await gateway.status()).dirty_bytes;
  if (bytes === 0) throw new Error('writeback: everything was written back before it could be measured');
  await gateway.flush();
  const seconds = (performance.now() - startMs) / 1000;
  await gateway.settle();
  return { fioBytesPerSecond: direct.bytesPerSecond, writebackBytesPerSecond: bytes / seconds, bytes };
}

/** Reads of clean, cached data, alone and while something else is written back, turn by turn. */
async function measureForeground(setting: MeasureSetting, gateway: Gateway, rates: Rates): Promise<Measure> {
  const { isQuick, rounds } = setting;
  const seconds = isQuick ? 0.5 : setting.seconds;
  const reads = (): Promise<FioFigures> =>
    fio(setting, gateway.volume, { rw: 'randread', blockBytes: 4096, depth: 16, jobs: 4, sizeBytes: CLEAN_BYTES, seconds });
  const dirtyBytes = Math.min(DIRTY_BYTES_MAX, rates.writebackBytesPerSecond * (seconds + 2));
  const pairs: { alone: number; meanwhile: number; leftBytes: number }[] = [];
  for (let i = 0; i < (isQuick ? 2 : rounds); i++) {
    // Written anew each time: the cache forgets the oldest first, however often it is read, and misses are not what is measured.
    await fio(setting, gateway.volume, { ...SEQUENTIAL, jobs: 1, sizeBytes: CLEAN_BYTES });
    await gateway.settle();
    const alone = await reads();
    // Nothing of it is to be written back before the reads begin.
    await gateway.setWritebackPaused(true);
    await fio(setting, gateway.volume, { ...RANDOM, ...DIRTY_PLACE, bytesMax: dirtyBytes });
    // Making room for that, the collector may have let go of what is read.
    await fio(setting, gateway.volume, { rw: 'read', blockBytes: MIB, depth: 1, jobs: 1, sizeBytes: CLEAN_BYTES });
    const { read_hits: hitsBefore } = await gateway.status();
    const reading = reads();
    // Waited for below, both, and not to be missed if something else fails first.
    const readers = { areDone: false };
    const noteDone = (): void => void (readers.areDone = true);
    reading.then(noteDone, noteDone);
    while (!readers.areDone && (await gateway.status()).read_hits === hitsBefore) await pause(POLL_MS, setting.workspace.signal);
    const flushed = gateway.flush();
    flushed.catch(() => undefined);
    const meanwhile = await reading;
    const { dirty_bytes: leftBytes } = await gateway.status();
    await gateway.setWritebackPaused(false);
    await flushed;
    await gateway.settle();
    pairs.push({ alone: alone.requestsPerSecond, meanwhile: meanwhile.requestsPerSecond, leftBytes });
  }
  const over = pairs.filter(({ leftBytes }) => leftBytes === 0).length;
  return {
    id: 'writeback-foreground',
    title: 'reads during writeback against reads alone',
    value: median(pairs.map(({ alone, meanwhile }) => meanwhile / alone)),
    unit: 'x',
    wanted: { bound: 'at least', value: 0.8 },
    details: {
      alone_per_second: median(pairs.map(({ alone }) => alone)),
      meanwhile_per_second: median(pairs.map(({ meanwhile }) => meanwhile)),
      dirty_mib: dirtyBytes / MIB,
      rounds: pairs.length,
    },
    ...(over === 0 ? {} : { doubt: `in ${over} of ${pairs.length} rounds writing back was over before the reads were` }),
  };
}
