// `pcache dump`: what is on the media, as text or as JSON lines. The first record is about the cache; segments, ksets and keys follow, one a line, if asked
// for. The names are those of the on-media format. What can't be read is null and named under `problems`.

import type { Command } from 'commander';
import { timeText } from '../cache/changed-backing.js';
import type { InspectedLog } from '../cache/inspect-log.js';
import type { InspectedMedia } from '../cache/inspect-media.js';
import { inspectMedia, isStale } from '../cache/inspect-media.js';
import { findStagedKsets, forEachKeyOf } from '../cache/staged-ksets.js';
import type { MappedCacheDevice } from '../device/mapped-cache-device.js';
import { isCutPrint, type StoredPrint } from '../media/backing-print.js';
import { cacheFlagsOf } from '../media/cache-info.js';
import type { CacheInfo } from '../media/cache-info.js';
import type { GatewayHeader } from '../media/gateway-header.js';
import { readKsetHeader } from '../media/kset.js';
import type { CacheSegId } from '../media/layout.js';
import { KEY_BYTES, KSET_HEADER_BYTES, SEGMENT_DATA_BYTES } from '../media/layout.js';
import type { LogPosition } from '../media/log-position.js';
import { aboutCache, openCache, uuidText } from './cache-file.js';
import { addExample, type CommandContext } from './command.js';
import { outputTaken } from './drain.js';
import { alignColumns, type Output } from './output.js';
import { whileInterruptible } from './progress.js';
import { formatSize } from './size.js';
import { runTask } from './task.js';

interface DumpOptions {
  segments?: true;
  ksets?: true;
  keys?: true;
  live?: true;
}

/** Ksets printed before their lines are waited for: a slow reader costs no memory, and one who has gone is noticed. */
const KSETS_PER_TURN = 64;

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<cache>', 'the cache: a file or block device')
    .option('--segments', 'print each segment too')
    .option('--ksets', 'print each kset of the log too')
    .option('--keys', 'print each key of the log too')
    .option('--live', 'read a cache that is in use; what is printed may not fit together')
    .description('Prints what is on the media, as text, or as one JSON document a line with --json. Changes nothing.')
    .action((path: string, options: DumpOptions) =>
      whileInterruptible(
        context.output,
        () => `${path} is as it was`,
        () => dump(path, options, context),
      ),
    );
  addExample(
    command,
    'pcache dump /fast/cache.pmem --segments',
    'pcache --json dump /fast/cache.pmem --keys | jq -c \'select(.record == "key")\'',
  );
}

async function dump(path: string, options: DumpOptions, context: CommandContext): Promise<void> {
  const { output } = context;
  const lock = options.live === true ? 'none' : 'shared';
  const device = openCache(path, { readOnly: true, lock }, (mountpoint) => `It is mounted at ${mountpoint}; --live reads it all the same.`);
  try {
    const media = aboutCache(path, () => inspectMedia(device));
    const log = await runTask('inspectLog', { cache: device.handle }, { output, interrupted: () => `${path} is as it was` });
    await print(path, device, media, log, options, context);
  } finally {
    device.close();
  }
}

async function print(
  path: string,
  device: MappedCacheDevice,
  media: InspectedMedia,
  log: InspectedLog | undefined,
  options: DumpOptions,
  context: CommandContext,
): Promise<void> {
  const { output } = context;
  const interrupted = (): string => `${path} is as it was; what was printed of it is not all`;
  await whileInterruptible(output, interrupted, async () => {
    const problems = problemsOf(media, log);
    const record = { record: 'cache', cache: path, size_bytes: device.sizeBytes, ...cacheRecord(media, log), problems };
    output.result(record, () => cacheLines(record));
    if (options.segments === true) printSegments(media, log, output);
    if (log !== undefined && (options.ksets === true || options.keys === true)) await printLog(media, log, options, output);
    for (const problem of problems) output.warn(`${path}: ${problem}`);
    if (problems.length > 0) context.exitStatus = 1;
    await outputTaken();
  });
}

function problemsOf(media: InspectedMedia, log: InspectedLog | undefined): string[] {
  const problems: string[] = [];
  if (!media.superblock.ok) problems.push(`superblock: ${media.superblock.reason}`);
  if (!media.cacheInfo.ok) problems.push(`cache_info: ${media.cacheInfo.reason}`);
  if (media.chain.problem !== undefined) problems.push(`segment chain: ${media.chain.problem}`);
  for (const [segment, generation] of media.generations.entries()) {
    if (!generation.ok) problems.push(`segment ${segment}: ${generation.reason}`);
  }
  if (!media.keyTail.ok) problems.push(`key_tail: ${media.keyTail.reason}`);
  if (!media.dirtyTail.ok) problems.push(`dirty_tail: ${media.dirtyTail.reason}`);
  if (!media.gatewayHeader.ok && media.gatewayHeader.kind !== 'absent') problems.push(`gateway header: ${media.gatewayHeader.reason}`);
  if (log?.walk.ending === 'damaged') {
    problems.push(`log: damaged at ${log.walk.end.cacheSegId}:${log.walk.end.segOff}: ${log.walk.damage ?? ''}`);
  }
  return problems;
}

type CacheRecord = ReturnType<typeof cacheRecord> & { cache: string; size_bytes: number; problems: string[] };

function cacheRecord(media: InspectedMedia, log: InspectedLog | undefined) {
  const { superblock, cacheInfo, gatewayHeader } = media;
  // A log that breaks off has no head.
  const walk = log?.walk;
  const stagedKeys =
    walk?.ending === 'end' && gatewayHeader.ok && gatewayHeader.value.state === 'open' ? findStagedKsets(media.log, walk).keys : 0;
  return {
    superblock: superblock.ok ? { flags: superblock.value.flags, seg_num: superblock.value.segmentCount } : null,
    cache_info: cacheInfo.ok ? cacheInfoRecord(cacheInfo.value) : null,
    key_tail: media.keyTail.ok ? placeOf(media.keyTail.value) : null,
    dirty_tail: media.dirtyTail.ok ? placeOf(media.dirtyTail.value) : null,
    key_head: walk?.ending === 'end' ? placeOf(walk.end) : null,
    ksets: walk?.ksets ?? null,
    last_ksets: walk?.lastKsets ?? null,
    keys: walk?.keys ?? null,
    clean_keys: log?.cleanKeys ?? null,
    stale_keys: log?.staleKeys ?? null,
    staged_keys: stagedKeys,
    dirty_key_bytes: log?.dirtyBytes ?? null,
    last_sequence: walk?.lastSequence ?? null,
    generations: Object.fromEntries(
      media.generations.flatMap((generation, segment) => (generation.ok && generation.value !== 0 ? [[segment, generation.value]] : [])),
    ),
    gateway_header: gatewayHeader.ok ? headerRecord(gatewayHeader.value) : null,
  };
}

function cacheInfoRecord(info: CacheInfo) {
  return {
    seg_id: info.firstSegment as number,
    n_segs: info.segmentCount,
    flags: cacheFlagsOf(info),
    data_crc: info.dataCrc,
    initialised: info.initialised,
    mode: info.mode,
    gc_percent: info.gcPercent,
  };
}

function headerRecord(header: GatewayHeader) {
  return {
    uuid: uuidText(header.uuid),
    state: header.state,
    volume_bytes: header.volumeBytes,
    backing_identity: header.backingIdentity,
    boot_id: header.bootId,
    sequence_limit: header.sequenceLimit,
    created_ms: header.createdMs,
    backing_print: header.backingPrint === undefined ? null : printRecord(header.backingPrint),
  };
}

/** The fields `print_...` of the header; null for a time that it does not have. */
function printRecord({ bytes, crc, changed, recordsCrc }: StoredPrint) {
  return { bytes, crc, seconds: changed?.seconds ?? null, nanoseconds: changed?.nanoseconds ?? null, records_crc: recordsCrc };
}

function placeOf({ cacheSegId, segOff }: LogPosition): [number, number] {
  return [cacheSegId, segOff];
}

function cacheLines(record: CacheRecord): string[] {
  const place = (at: [number, number] | null): string => (at === null ? 'not readable' : at.join(':'));
  const { superblock, cache_info: info, gateway_header: header } = record;
  const generations = Object.entries(record.generations).map(([segment, generation]) => `${segment}:${generation}`);
  return alignColumns([
    ['cache', `${record.cache}, ${formatSize(record.size_bytes)}`],
    ['superblock', superblock === null ? 'not readable' : `seg_num ${superblock.seg_num}, flags 0x${superblock.flags.toString(16)}`],
    [
      'cache_info',
      info === null
        ? 'not readable'
        : `n_segs ${info.n_segs}, seg_id ${info.seg_id}, flags 0x${info.flags.toString(16)}: ${info.mode}, data CRC ${info.data_crc ? 'on' : 'off'}, gc_percent ${info.gc_percent}`,
    ],
    ['key_tail', place(record.key_tail)],
    ['dirty_tail', place(record.dirty_tail)],
    ['key_head', place(record.key_head)],
    ['log', record.ksets === null ? 'not readable' : `${record.ksets} ksets, ${record.last_ksets ?? 0} LAST`],
    [
      'keys',
      record.keys === null
        ? 'not readable'
        : `${record.keys}: ${record.clean_keys ?? 0} clean, ${record.stale_keys ?? 0} stale, ${record.staged_keys} more staged`,
    ],
    ['dirty', record.dirty_key_bytes === null ? 'not readable' : `${formatSize(record.dirty_key_bytes)} of keys not written back`],
    ['generations', generations.length === 0 ? 'all 0' : generations.join(' ')],
    ...(header === null
      ? [['gateway', 'no header: the kernel made this cache']]
      : [
          ['gateway', `uuid ${header.uuid}, ${header.state}, made ${dateText(header.created_ms)}`],
          [
            'volume',
            header.volume_bytes === 0 ? 'not bound to a backing device yet' : `${header.volume_bytes} bytes of ${header.backing_identity}`,
          ],
          ['sequences', `up to ${record.last_sequence ?? 0}, below ${header.sequence_limit}`],
          ['print', header.backing_print === null ? 'none of the backing device' : printText(header.backing_print)],
        ]),
  ]);
}

function printText({ bytes, crc, seconds, nanoseconds, records_crc: recordsCrc }: ReturnType<typeof printRecord>): string {
  if (isCutPrint({ bytes, crc, ...(seconds === null ? {} : { changed: { seconds, nanoseconds: nanoseconds ?? 0 } }) })) {
    return 'none: the backing device was cut while it was in use';
  }
  const changed = seconds === null ? '' : `, last changed at ${timeText({ seconds, nanoseconds: nanoseconds ?? 0 })}`;
  return `of the backing device at the close: crc ${crcText(crc)} of its first ${bytes} bytes${changed}; records crc ${crcText(recordsCrc)}`;
}

function crcText(crc: number): string {
  return `0x${crc.toString(16).padStart(8, '0')}`;
}

/** What no clock can have shown is printed as the number it is. */
function dateText(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? `${ms} ms` : date.toISOString();
}

function printSegments(media: InspectedMedia, log: InspectedLog | undefined, output: Output): void {
  for (const [segment, physical] of media.chain.physicalOf.entries()) {
    const generation = media.generations[segment]!;
    const use = log?.segments[segment];
    const record = {
      record: 'segment',
      seg: segment,
      physical: physical as number,
      generation: generation.ok ? generation.value : null,
      use: use?.use ?? null,
      keys: use?.keys ?? null,
      stale_keys: use?.staleKeys ?? null,
    };
    output.result(record, () => {
      const where = segment === (physical as number) ? '' : ` (${physical} on the device)`;
      const what = use === undefined ? '' : `, ${use.use}${use.keys === 0 ? '' : `, ${use.keys} keys, ${use.staleKeys} stale`}`;
      return `segment ${segment}${where}: generation ${generation.ok ? generation.value : 'not readable'}${what}`;
    });
  }
}

async function printLog(media: InspectedMedia, log: InspectedLog, options: DumpOptions, output: Output): Promise<void> {
  const { ksetPlaces } = log;
  for (let at = 0; at < ksetPlaces.length; at += 2) {
    const cacheSegId = ksetPlaces[at]! as CacheSegId;
    const segOff = ksetPlaces[at + 1]!;
    const { view, base } = media.log.data(cacheSegId);
    const header = readKsetHeader(view, base + segOff);
    if (options.ksets === true) {
      const record = {
        record: 'kset',
        at: [cacheSegId, segOff],
        keys: header.keyNum,
        last: header.isLast,
        next_seg: header.isLast ? header.nextCacheSegId : null,
        sequence: header.sequence,
        barrier: header.isBarrier,
        barrier_before: header.isBarrierBefore,
        batch_index: header.batchIndex,
      };
      output.result(record, () => {
        const marks = [header.isBarrierBefore ? ', barrier before' : '', header.isBarrier ? ', barrier' : ''].join('');
        const what = header.isLast ? `LAST, goes on in segment ${header.nextCacheSegId}` : `${header.keyNum} keys`;
        return `kset ${cacheSegId}:${segOff}: ${what}, sequence ${header.sequence}${marks}`;
      });
    }
    if (options.keys === true) printKeys(media, cacheSegId, segOff, header.keyNum, output);
    if ((at / 2) % KSETS_PER_TURN === 0) await outputTaken();
  }
}

function printKeys(media: InspectedMedia, cacheSegId: CacheSegId, segOff: number, keys: number, output: Output): void {
  // A live cache may have changed under us: whatever stands there now must not lead beyond the segment.
  const room = Math.floor((SEGMENT_DATA_BYTES - KSET_HEADER_BYTES - segOff) / KEY_BYTES);
  forEachKeyOf(media.log, { cacheSegId, segOff, keys: Math.min(keys, room), isLast: false }, (key, index) => {
    const stale = isStale(media, key.cacheSegId, key.segGen);
    const record = {
      record: 'key',
      kset: [cacheSegId, segOff],
      index,
      off: key.off,
      len: key.len,
      flags: key.flags,
      clean: key.isClean,
      stale,
      cache_seg_id: key.cacheSegId,
      cache_seg_off: key.cacheSegOff,
      seg_gen: key.segGen,
      data_crc: key.dataCrc,
    };
    output.result(record, () => {
      const state = `${key.isClean ? 'clean' : 'written'}${stale ? ', stale' : ''}`;
      const payload = `segment ${key.cacheSegId}:${key.cacheSegOff} generation ${key.segGen}, crc ${crcText(key.dataCrc)}`;
      return `key ${cacheSegId}:${segOff}/${index}: ${key.off} +${key.len} ${state}, ${payload}`;
    });
  });
}
