// Checks the log: every kset and key against the rules that every writer keeps, and, where data CRC is on, every payload. Says what damage means for
// the volume: which bytes, and whether the backing device has them.
//
// Keys are taken as replay takes them: a key whose generation is below its segment's is stale and counts for nothing, of two that overlap the
// later wins, and a key that breaks a rule is reported and left out.

import type { CacheDevice } from '../device/device.js';
import type { KeyCursor } from '../media/cache-key.js';
import { KEY_FLAG_CLEAN, KEY_FLAG_EMPTY, validateKey } from '../media/cache-key.js';
import { pcacheCrcOfRange } from '../media/crc32c.js';
import { KSET_HEADER_LAYOUT } from '../media/kset.js';
import type { CacheSegId } from '../media/layout.js';
import { SEGMENT_DATA_OFFSET } from '../media/layout.js';
import type { LogPosition } from '../media/log-position.js';
import { samePosition } from '../media/log-position.js';
import type { LogWalk, LogWalkOptions, WalkedKset } from '../media/log-walk.js';
import { logWalkOptions, walkLog } from '../media/log-walk.js';
import { tailsAreStamped } from '../media/tails.js';
import { allZero } from '../media/u64.js';
import { DamagedRanges } from './check-damage.js';
import type { FindingList } from './check-finding.js';
import { PayloadMap } from './check-payload.js';
import { HEADER_LOST } from './check-records.js';
import type { InspectedMedia } from './inspect-media.js';
import { isStale } from './inspect-media.js';
import { readRecordedTail } from './recorded-tail.js';
import { lossOf, placeOf } from './repair-log.js';
import type { StagedKset } from './staged-ksets.js';
import { findStagedKsets, forEachKeyOf } from './staged-ksets.js';
import type { TellProgress } from './tell-progress.js';
import { tellingWalk } from './tell-progress.js';
import { bytesBehind } from './unwritten-data.js';

/** What the log holds, as far as it could be read. */
export interface LogTotals {
  ksets: number;
  lastKsets: number;
  keys: number;
  cleanKeys: number;
  staleKeys: number;
  /** Bytes of keys that the backing device does not have yet; overwritten ones are counted too. */
  dirtyBytes: number;
}

interface KeyPlace {
  readonly cacheSegId: number;
  readonly segOff: number;
}

export class LogCheck {
  readonly totals: LogTotals = { ksets: 0, lastKsets: 0, keys: 0, cleanKeys: 0, staleKeys: 0, dirtyBytes: 0 };
  readonly #device: CacheDevice;
  readonly #media: InspectedMedia;
  readonly #list: FindingList;
  readonly #tell: TellProgress | undefined;
  readonly #limits: { volumeBytes: number; segmentCount: number };
  readonly #dataCrc: boolean;
  readonly #damage = new DamagedRanges();
  readonly #payloads = new PayloadMap();
  /** Keys that refer to each segment, by cache_seg_id. */
  readonly #references: number[];
  /** Keys without all of their payload, where the device was cut. */
  readonly #lost = { keys: 0, bytes: 0 };
  #isDirty = false;
  /** By cache_seg_id, where keys are newer than the record of their segment's generation: the first of them, and their highest generation. */
  readonly #newerKeys = new Map<number, { first: string; newest: number }>();
  /** By cache_seg_id: the lowest generation of its keys. */
  readonly #oldestKeys: number[];
  /** A segment that this gateway freed though a key of the log refers to it; -1 if there is none. */
  #reusedSegment = -1;
  /** This gateway wrote some of the log, so there was a gateway header. */
  #hasSequences = false;

  /** `volumeBytes`: of the volume, or the most it can have. */
  constructor(device: CacheDevice, media: InspectedMedia, volumeBytes: number, list: FindingList, tell?: TellProgress) {
    this.#device = device;
    this.#media = media;
    this.#list = list;
    this.#tell = tell;
    this.#limits = { volumeBytes, segmentCount: media.segmentCount };
    this.#dataCrc = media.cacheInfo.ok && media.cacheInfo.value.dataCrc;
    this.#references = new Array<number>(media.segmentCount).fill(0);
    this.#oldestKeys = new Array<number>(media.segmentCount).fill(Infinity);
  }

  /** `bootId`: of the running system; without it staged keys are only counted. */
  run(bootId: string | undefined): void {
    const { keyTail, dirtyTail } = this.#media;
    const recorded = keyTail.ok || dirtyTail.ok ? undefined : readRecordedTail(this.#media);
    const start = keyTail.ok ? keyTail.value : dirtyTail.ok ? dirtyTail.value : recorded?.ok === true ? recorded.value : undefined;
    if (start === undefined) {
      this.#list.add('error', 'log-damaged', 'log', 'both tails are lost: where the log is can not be told, and nothing of it is checked');
      return;
    }
    // Without dirty_tail everything may be dirty.
    this.#isDirty = !dirtyTail.ok;
    const walk = this.#walk(start);
    const walks = [walk];
    if (walk.ending === 'damaged') {
      this.#reportDamage(walk, bootId);
      if (!walk.dirtyTailPassed && dirtyTail.ok) walks.push(this.#walkDirtyPart(dirtyTail.value, bootId));
    } else {
      this.#checkEnd(walk);
      this.#checkStaged(walk, bootId);
    }
    const headerIsAbsent = !this.#media.gatewayHeader.ok && this.#media.gatewayHeader.kind === 'absent';
    // Stamped tails say the same, and were looked at before.
    if (this.#hasSequences && headerIsAbsent && !tailsAreStamped(this.#device.control.bytes)) {
      this.#list.add('error', 'gateway-header', 'gateway header', HEADER_LOST);
    }
    if (this.#reusedSegment !== -1 && this.#options(start).durable !== undefined) {
      const what = `it is an older one: keys behind it refer to segment ${this.#reusedSegment}, which was freed since`;
      const consequence = readRecordedTail(this.#media).ok
        ? 'But the gateway header says where dirty_tail was, and a repair from there loses nothing'
        : 'What the log holds can not be told from what it held once';
      this.#list.add('error', 'tail', 'key_tail', `${what}. ${consequence}`);
    }
    this.#reportNewerKeys(this.#options(start));
    this.#checkLogSegments(walks);
    this.#checkPayloads(walks, start);
    this.#reportTotals();
    this.#reportLost();
    this.#reportDamagedRanges();
  }

  /** `start`: key_tail, or where else the walk begins; then nothing counts that holds from key_tail on only. */
  #options(start: LogPosition): LogWalkOptions {
    const { keyTail, dirtyTail, gatewayHeader } = this.#media;
    const from = keyTail.ok && keyTail.value === start ? keyTail : { value: start };
    return logWalkOptions(from, dirtyTail.ok ? dirtyTail : undefined, gatewayHeader.ok ? gatewayHeader.value : undefined);
  }

  #walk(start: LogPosition): LogWalk {
    const { log } = this.#media;
    const walk = walkLog(log, start, tellingWalk(this.#options(start), this.#tell, 'checking', log, start), {
      onKset: (kset) => this.#checkKset(kset),
      onKey: (key, kset, index) => this.#checkKey(key, kset, index),
    });
    this.totals.ksets += walk.ksets;
    this.totals.lastKsets += walk.lastKsets;
    return walk;
  }

  /** The log breaks before dirty_tail: what comes after dirty_tail may be whole all the same. */
  #walkDirtyPart(dirtyTail: LogPosition, bootId: string | undefined): LogWalk {
    this.#isDirty = true;
    const walk = this.#walk(dirtyTail);
    const what = `from dirty_tail on ${walk.keys} keys in ${walk.ksets} ksets can be read`;
    const how =
      walk.ending === 'end' ? 'to the end of the log: what the backing device lacks is still in the cache' : 'up to another damage';
    this.#list.add('info', 'log-remains', placeOf(dirtyTail), `${what}, ${how}`);
    if (walk.ending === 'damaged') this.#reportDamage(walk, bootId);
    else this.#checkEnd(walk);
    return walk;
  }

  #checkKset(kset: WalkedKset): void {
    const { dirtyTail, gatewayHeader } = this.#media;
    this.#isDirty ||= dirtyTail.ok && samePosition(dirtyTail.value, kset);
    const { sequence, isLast, keyNum } = kset.header;
    this.#hasSequences ||= sequence !== 0;
    if (!isLast && keyNum === 0) this.#list.add('warning', 'kset', ksetName(kset), 'it has no keys, which no writer leaves');
    if (gatewayHeader.ok && sequence >= gatewayHeader.value.sequenceLimit) {
      const limit = gatewayHeader.value.sequenceLimit;
      this.#list.add('warning', 'kset', ksetName(kset), `its sequence ${sequence} is not below ${limit}, the limit in the gateway header`);
    }
  }

  #checkKey(key: KeyCursor, kset: KeyPlace, index: number): void {
    const { totals } = this;
    totals.keys++;
    if (key.isClean) totals.cleanKeys++;
    const problem = validateKey(key, this.#limits);
    if (problem !== undefined) {
      this.#list.add('error', 'key', keyName(kset, index), `${problem}: the cache can't be mounted with it`);
      return;
    }
    const segment = key.cacheSegId;
    this.#references[segment]! += 1;
    const unknownFlags = key.flags & ~(KEY_FLAG_CLEAN | KEY_FLAG_EMPTY);
    if (unknownFlags !== 0) {
      this.#list.add('warning', 'key', keyName(kset, index), `unknown flags 0x${(unknownFlags >>> 0).toString(16)}`);
    }
    const generation = this.#media.generations[segment];
    if (generation?.ok === true && key.segGen > generation.value) {
      const known = this.#newerKeys.get(segment);
      const first = known?.first ?? keyName(kset, index);
      this.#newerKeys.set(segment, { first, newest: Math.max(key.segGen, known?.newest ?? 0) });
    }
    this.#oldestKeys[segment] = Math.min(key.segGen, this.#oldestKeys[segment]!);
    if (isStale(this.#media, segment, key.segGen)) {
      totals.staleKeys++;
      if (this.#media.ownGenerations[segment] === true) this.#reusedSegment = segment;
      return;
    }
    if (!key.isClean && this.#isDirty) totals.dirtyBytes += key.len;
    this.#checkPayload(key, kset, index);
  }

  #checkPayload(key: KeyCursor, kset: KeyPlace, index: number): void {
    const onlyCopy = this.#isDirty && !key.isClean;
    const physical = this.#media.chain.physicalOf[key.cacheSegId];
    if (physical === undefined) {
      const loss = onlyCopy ? 'its data is lost' : 'the backing device has its data';
      const range = { offsetBytes: key.off, lengthBytes: key.len };
      const what = `segment ${key.cacheSegId}, which has these bytes, can't be found`;
      this.#list.add(onlyCopy ? 'error' : 'warning', 'data-lost', keyName(kset, index), `${what}: ${loss}`, range);
      return;
    }
    this.#payloads.take(key.cacheSegId, key.cacheSegOff, key.len);
    const lost = this.#dataCrc ? 0 : bytesBehind(this.#device.lostFrom ?? Infinity, physical, key);
    if (lost > 0) {
      this.#lost.keys++;
      this.#lost.bytes += lost;
    }
    let isDamaged = lost > 0;
    if (this.#dataCrc) {
      const at = SEGMENT_DATA_OFFSET + key.cacheSegOff;
      isDamaged = pcacheCrcOfRange(this.#device.segment(physical).bytes, at, at + key.len) !== key.dataCrc;
    }
    this.#damage.key(key.off, key.len, !isDamaged ? 'none' : onlyCopy ? 'only-copy' : 'copy');
  }

  #reportDamage(walk: LogWalk, bootId: string | undefined): void {
    const damage = walk.damage ?? 'the log is damaged';
    if (!walk.dirtyTailPassed) {
      const loss = 'this is before dirty_tail, where the backing device has everything: nothing is lost, but the cache is refused as it is';
      this.#list.add('error', 'log-damaged', placeOf(walk.end), `${damage}: ${loss}`);
      return;
    }
    const loss = lossOf(this.#media, walk, bootId, this.#tell);
    const given =
      "what was written to the cache behind this place, and is not on the backing device, can't be reached; the cache is refused as it is";
    this.#list.add('error', 'log-damaged', placeOf(walk.end), `${damage}: ${given}`);
    for (const range of loss.ranges) {
      const what = 'written behind the damage: the backing device has older bytes, and cutting the log there would lose the newer ones';
      this.#list.add('error', 'log-lost', 'volume', what, range);
    }
    if (loss.unreadableWritesMax === 0) return;
    const most =
      loss.unreadableWritesMax === undefined
        ? 'some writes'
        : `${loss.unreadableWritesMax} write${loss.unreadableWritesMax === 1 ? '' : 's'} at most`;
    const what = `${most} behind the damage can't be read: which parts of the volume they are about can not be told`;
    this.#list.add('error', 'log-lost', placeOf(walk.end), what);
  }

  /** The 24 bytes behind the last kset must have a magic of zero: every writer puts it there, so that the log has an end. */
  #checkEnd(walk: LogWalk): void {
    const { bytes, base } = this.#media.log.data(walk.end.cacheSegId);
    if (allZero(bytes, base + walk.end.segOff + KSET_HEADER_LAYOUT.magic, 8)) return;
    const what = `something else than zeros follows the last kset (${walk.endsWith})`;
    const why = 'either the last kset before a loss of power, which had not been flushed yet, or one that was damaged since';
    this.#list.add('warning', 'log-end', placeOf(walk.end), `${what}: ${why}`);
  }

  #checkStaged(walk: LogWalk, bootId: string | undefined): void {
    const { gatewayHeader, log } = this.#media;
    if (!gatewayHeader.ok || gatewayHeader.value.state !== 'open') return;
    const { ksets, keys, damage } = findStagedKsets(log, walk);
    if (damage !== undefined && gatewayHeader.value.bootId === bootId) {
      const what = 'the writes from there on, acknowledged and not flushed, are lost; the next mount goes on without them';
      this.#list.add('error', 'staged-keys', placeOf(walk.end), `${damage}: ${what}`);
    }
    if (keys === 0) {
      this.#list.add('info', 'staged-keys', 'gateway header', 'the cache was not closed in order; no keys are staged');
    } else if (gatewayHeader.value.bootId === bootId) {
      this.#checkStagedKeys(ksets);
      this.#list.add('info', 'staged-keys', placeOf(walk.end), `${keys} acknowledged keys wait in memory for the next mount to close them`);
    } else {
      const what = `${keys} keys had not been flushed when the machine was restarted`;
      this.#list.add('info', 'staged-keys', placeOf(walk.end), `${what}: they are not part of the cache`);
    }
  }

  #checkStagedKeys(staged: readonly StagedKset[]): void {
    this.#isDirty = true;
    for (const kset of staged) forEachKeyOf(this.#media.log, kset, (key, index) => this.#checkKey(key, kset, index));
  }

  #checkLogSegments(walks: readonly LogWalk[]): void {
    for (const segment of new Set(walks.flatMap((walk) => walk.segments))) {
      const references = this.#references[segment] ?? 0;
      if (references === 0) continue;
      const what = `${references} keys say that their data is in this segment, which holds the log`;
      this.#list.add('error', 'key-segment', `segment ${segment}`, `${what}: their data is not there`);
    }
  }

  #checkPayloads(walks: readonly LogWalk[], start: LogPosition): void {
    if (!this.#payloads.isCrowded) return;
    const { dirtyTail, log } = this.#media;
    for (const from of walks.length > 1 && dirtyTail.ok ? [start, dirtyTail.value] : [start]) {
      walkLog(log, from, tellingWalk(this.#options(from), this.#tell, 'comparing keys', log, from), {
        onKey: (key) => {
          if (validateKey(key, this.#limits) !== undefined || isStale(this.#media, key.cacheSegId, key.segGen)) return;
          this.#payloads.place(key.cacheSegId, key.cacheSegOff, key.len, key.off);
        },
      });
    }
    for (const { segment, pairs, firstOffset } of this.#payloads.shared()) {
      const what = `${pairs} keys share bytes with another key for a different part of the volume, first at offset ${firstOffset}`;
      this.#list.add('info', 'payload-shared', `segment ${segment as CacheSegId}`, what);
    }
  }

  /** A mount takes the generation of the keys. If that makes others stale, it is no older record alone, and the cache is refused. */
  #reportNewerKeys({ durable }: LogWalkOptions): void {
    for (const [segment, { first, newest }] of this.#newerKeys) {
      const generation = this.#media.generations[segment]!;
      const what = `its generation is above ${generation.ok ? generation.value : 0}, that of segment ${segment}: the segment's record is older than the key`;
      const isRefused = durable !== undefined && this.#media.ownGenerations[segment] === true && this.#oldestKeys[segment]! < newest;
      if (isRefused)
        this.#list.add('error', 'key-generation', first, `${what}; and other keys, from before the segment was reused, are still there`);
      else this.#list.add('warning', 'key-generation', first, `${what}; the next mount stores that of the key: nothing is lost`);
    }
  }

  #reportTotals(): void {
    const { staleKeys, keys } = this.totals;
    if (staleKeys === 0) return;
    this.#list.add(
      'info',
      'stale-keys',
      'log',
      `${staleKeys} of ${keys} keys are older than what their segments hold now, and are ignored`,
    );
  }

  /** Of a device that is short, its size says so. */
  #reportLost(): void {
    const { keys, bytes } = this.#lost;
    const { dataEnd } = this.#device;
    if (keys === 0 || dataEnd === undefined) return;
    const what = `keys of the log refer to ${bytes} bytes that were never written, from byte ${dataEnd} of the file on`;
    const why = 'it was cut and made longer since (or is a sparse copy of a cache that has zeros there): mount refuses it';
    this.#list.add('error', 'device-size', 'end of the file', `${what}: ${why}`);
  }

  #reportDamagedRanges(): void {
    for (const { start, end, isOnlyCopy } of this.#damage.merged()) {
      const range = { offsetBytes: start, lengthBytes: end - start };
      const wasCut = this.#lost.keys > 0;
      const code = wasCut ? 'data-lost' : 'data-crc';
      if (isOnlyCopy) {
        const what = wasCut
          ? 'lost with the end of the device, and that was the only copy'
          : 'damaged, and this is the only copy: reading it gives an error until it is written again';
        this.#list.add('error', code, 'volume', what, range);
      } else {
        const what = `the cache's copy is ${wasCut ? 'lost' : 'damaged'}; the backing device has the data: nothing is lost`;
        this.#list.add('warning', code, 'volume', what, range);
      }
    }
  }
}

function ksetName({ cacheSegId, segOff }: KeyPlace): string {
  return `kset ${cacheSegId}:${segOff}`;
}

function keyName(kset: KeyPlace, index: number): string {
  return `key ${index} of ${ksetName(kset)}`;
}
