// The gateway header: what this gateway remembers about a cache, in the page that the kernel never reads or writes. Two copies of 2 KiB; the valid
// one with the later generation is current and a writer overwrites the other (`durable-place-store` too). Invariants: a cache without a header is a good cache (the kernel
// made it); crc, format version and magic stay where they are in every version to come, and the CRC always covers the whole copy after itself, so
// that an old program can tell a newer header from a broken one.
//
// A third copy, the backup, stands in the superblock's page, which the kernel reads 24 bytes of. It is read only if neither of the two is valid: the
// page that holds both is then lost, and without the backup the cache would look like one that the kernel made. It says no `durable` place, no
// `dirtyTail` and no print of the backing device: it is not stored often enough for them to hold.

import type { StoredPrint } from './backing-print.js';
import { printIsValid } from './backing-print.js';
import { pcacheCrcOfRange } from './crc32c.js';
import type { Decoded } from './decoded.js';
import { accepted, refused } from './decoded.js';
import { KSET_SEQUENCE_MAX } from './kset.js';
import type { CacheSegId, SegmentOffset } from './layout.js';
import { GATEWAY_BACKUP_OFFSET, GATEWAY_HEADER_BYTES, GATEWAY_HEADER_OFFSETS, SECTOR_BYTES, VOLUME_BYTES_MAX } from './layout.js';
import type { LogPosition } from './log-position.js';
import { LOG_ALIGNMENT_BYTES, LOG_OFFSET_MAX } from './log-position.js';
import { structLayout } from './struct-layout.js';
import type { CopyIndex } from './two-copy-record.js';
import { allZero, holds, readU64, viewOf, writeU64 } from './u64.js';

/** The version written here. A higher one is refused: it may mean something that must not be ignored. */
export const GATEWAY_FORMAT_VERSION = 1;
export const BACKING_IDENTITY_BYTES_MAX = 512;
const BOOT_ID_BYTES = 36;

export const GATEWAY_HEADER_LAYOUT = structLayout('gateway_header', GATEWAY_HEADER_BYTES, {
  crc: [0, 4],
  format_version: [4, 4],
  magic: [8, 8],
  generation: [16, 4],
  state: [20, 4],
  uuid: [24, 16],
  volume_bytes: [40, 8],
  sequence_limit: [48, 8],
  created_ms: [56, 8],
  boot_id: [64, BOOT_ID_BYTES],
  backing_identity_bytes: [100, 4],
  backing_identity: [104, BACKING_IDENTITY_BYTES_MAX],
  durable_sequence: [616, 8],
  durable_segment: [624, 4],
  durable_offset: [628, 4],
  dirty_tail_sequence: [632, 8],
  dirty_tail_segment: [640, 4],
  dirty_tail_offset: [644, 4],
  print_bytes: [648, 4],
  print_crc: [652, 4],
  print_seconds: [656, 8],
  print_nanoseconds: [664, 4],
  print_records_crc: [668, 4],
  /** Zero; room for what later versions add. */
  reserved: [672, GATEWAY_HEADER_BYTES - 672],
});
const AT = GATEWAY_HEADER_LAYOUT;

const MAGIC = new TextEncoder().encode('PCACHEGW');
const STATES = ['clean', 'open'] as const;

/** `open`: a program that uses the cache has not yet closed it in order, so keys may be staged in the log's open kset. */
export type GatewayState = (typeof STATES)[number];

/** A place that the log is known to have reached durably. The log may go on behind it. */
export interface DurablePlace {
  /** 1 to 2^48 - 1: no kset before the place has a higher sequence, and none behind it one that is not higher. */
  readonly sequence: number;
  readonly position: LogPosition;
}

/** A place that dirty_tail was at, and that key_tail has not passed since. */
export interface DirtyTailPlace {
  /** 1 to 2^48 - 1: of the kset that stands there, or will be the next to. */
  readonly sequence: number;
  readonly position: LogPosition;
}

export interface GatewayHeader {
  /** 16 bytes, made when the cache is formatted. */
  readonly uuid: Uint8Array;
  /** Size of the volume; 0 while the cache is not bound to a backing device. */
  readonly volumeBytes: number;
  /** What the backing device calls itself, at most 512 bytes of UTF-8; '' while not bound. */
  readonly backingIdentity: string;
  /** The host's boot (36 characters of ASCII) in which the log's open kset was staged, or ''. */
  readonly bootId: string;
  /** 1 to 2^48 - 1: no kset sequence at or above it has been used. */
  readonly sequenceLimit: number;
  readonly state: GatewayState;
  /** When the cache was made, milliseconds since 1970. */
  readonly createdMs: number;
  /** Not there: not known. It holds as long as this gateway moves key_tail, and not beyond it (see `log-walk`). */
  readonly durable?: DurablePlace;
  /** Not there: not known, or a kset of the kernel stood there. It holds as long as this gateway alone uses the cache (see `cache/recorded-tail`). */
  readonly dirtyTail?: DirtyTailPlace;
  /** Of the backing device when the cache was closed, only with `clean`. Not there: not known. How far it holds: `cache/changed-backing`. */
  readonly backingPrint?: StoredPrint;
}

/** A header as read, and where from. */
export interface CurrentGatewayHeader {
  readonly value: GatewayHeader;
  readonly index: CopyIndex;
  /** Rises by one with every write, modulo 2^32. */
  readonly generation: number;
  readonly otherValid: boolean;
  /** Neither copy is valid, and this is the backup; `index` is the copy not to write next. */
  readonly fromBackup?: true;
}

/**
 * Why there is no header.
 * - `absent`: neither a copy nor the backup has its magic; the kernel, or another program, made the cache.
 * - `damaged`: there was one, and no copy is valid, nor is the backup.
 * - `newer`: a later version of this program wrote it.
 */
export type GatewayHeaderRead =
  | ({ readonly ok: true } & CurrentGatewayHeader)
  | { readonly ok: false; readonly kind: 'absent' | 'damaged' | 'newer'; readonly reason: string };

/** The sequences of a new cache begin at so many a millisecond since 1970 ... */
const SEQUENCES_PER_MS = 64;
/** ... and further on, by what the first bytes of its UUID say: up to half a year of them. */
const SEQUENCE_JUMP_BYTES = 5;
const SEQUENCE_JUMP_LIMIT = 2 ** (8 * SEQUENCE_JUMP_BYTES);

/**
 * The header of a new cache: not bound, clean. Its sequence limit is where the sequences of its ksets start. Ksets of a cache that was on the device before
 * may still stand in segments to be used as log, and must be below that, or above all that this cache will use: `usedBefore`, if it is known, sees to the first.
 * If it isn't, time is no proof: a cache skips 2^24 numbers whenever its program dies, four minutes of them. Then it takes a coincidence of one in 65,536 for
 * any of them to be near, since the start is at random.
 * `uuid`: 16 random bytes; `nowMs`: milliseconds since 1970; `usedBefore`: the sequence limit of the cache that was there before.
 */
export function newGatewayHeader(uuid: Uint8Array, nowMs: number, usedBefore = 0): GatewayHeader {
  const createdMs = Math.max(0, Math.floor(nowMs));
  const jump = uuid.subarray(0, SEQUENCE_JUMP_BYTES).reduce((value, byte) => value * 256 + byte, 0);
  // A clock set far into the future must not use up the 48 bits.
  const start = Math.min(createdMs * SEQUENCES_PER_MS, 2 ** 48 - 2 * SEQUENCE_JUMP_LIMIT) + jump;
  const sequenceLimit = Math.max(1, start, usedBefore);
  return { uuid: Uint8Array.from(uuid), volumeBytes: 0, backingIdentity: '', bootId: '', sequenceLimit, state: 'clean', createdMs };
}

type CopyRead =
  | { readonly kind: 'absent' }
  | { readonly kind: 'damaged'; readonly reason: string }
  | { readonly kind: 'newer'; readonly version: number; readonly generation: number }
  | { readonly kind: 'valid'; readonly value: GatewayHeader; readonly generation: number };

function hasMagic(bytes: Uint8Array, offset: number): boolean {
  return MAGIC.every((byte, index) => bytes[offset + AT.magic + index] === byte);
}

function readCopy(bytes: Uint8Array, offset: number): CopyRead {
  if (!holds(bytes, offset, GATEWAY_HEADER_BYTES)) return { kind: 'damaged', reason: 'too few bytes' };
  if (!hasMagic(bytes, offset)) return { kind: 'absent' };
  const view = viewOf(bytes);
  if (view.getUint32(offset + AT.crc, true) !== pcacheCrcOfRange(bytes, offset + AT.format_version, offset + GATEWAY_HEADER_BYTES)) {
    return { kind: 'damaged', reason: 'bad CRC' };
  }
  const version = view.getUint32(offset + AT.format_version, true);
  const generation = view.getUint32(offset + AT.generation, true);
  if (version > GATEWAY_FORMAT_VERSION) return { kind: 'newer', version, generation };
  if (version < 1) return { kind: 'damaged', reason: `format version ${version}` };
  const fields = decodeFields(bytes, view, offset);
  return fields.ok ? { kind: 'valid', value: fields.value, generation } : { kind: 'damaged', reason: fields.reason };
}

function decodeFields(bytes: Uint8Array, view: DataView, offset: number): Decoded<GatewayHeader> {
  const state = STATES[view.getUint32(offset + AT.state, true)];
  const identityBytes = view.getUint32(offset + AT.backing_identity_bytes, true);
  if (state === undefined) return refused('unknown state');
  if (identityBytes > BACKING_IDENTITY_BYTES_MAX) return refused(`a backing identity of ${identityBytes} bytes`);
  const bootId = decodeBootId(bytes, offset + AT.boot_id);
  const backingIdentity = decodeText(bytes, offset + AT.backing_identity, identityBytes);
  if (bootId === undefined) return refused('a boot id that is not ASCII');
  if (backingIdentity === undefined) return refused('a backing identity that is not UTF-8');
  const durable = decodePlace(view, offset, AT.durable_sequence, AT.durable_segment, AT.durable_offset);
  const dirtyTail = decodePlace(view, offset, AT.dirty_tail_sequence, AT.dirty_tail_segment, AT.dirty_tail_offset);
  const header: GatewayHeader = {
    uuid: Uint8Array.from(bytes.subarray(offset + AT.uuid, offset + AT.uuid + 16)),
    volumeBytes: readU64(view, offset + AT.volume_bytes),
    backingIdentity,
    bootId,
    sequenceLimit: readU64(view, offset + AT.sequence_limit),
    state,
    createdMs: readU64(view, offset + AT.created_ms),
    ...(durable === undefined ? {} : { durable }),
    ...(dirtyTail === undefined ? {} : { dirtyTail }),
    ...(state === 'clean' ? decodePrint(view, offset) : {}),
  };
  const problem = gatewayHeaderProblem(header);
  return problem === undefined ? accepted(header) : refused(problem);
}

function decodePlace(
  view: DataView,
  offset: number,
  sequenceAt: number,
  segmentAt: number,
  offsetAt: number,
): DurablePlace | DirtyTailPlace | undefined {
  const sequence = readU64(view, offset + sequenceAt);
  if (sequence === 0) return undefined;
  const cacheSegId = view.getUint32(offset + segmentAt, true) as CacheSegId;
  const segOff = view.getUint32(offset + offsetAt, true) as SegmentOffset;
  return { sequence, position: { cacheSegId, segOff } };
}

/** One that makes no sense is none: it is only there to refuse by. */
function decodePrint(view: DataView, offset: number): Pick<GatewayHeader, 'backingPrint'> {
  const seconds = readU64(view, offset + AT.print_seconds);
  const nanoseconds = view.getUint32(offset + AT.print_nanoseconds, true);
  const backingPrint = {
    bytes: view.getUint32(offset + AT.print_bytes, true),
    crc: view.getUint32(offset + AT.print_crc, true),
    recordsCrc: view.getUint32(offset + AT.print_records_crc, true),
    ...(seconds === 0 ? {} : { changed: { seconds, nanoseconds } }),
  };
  return printIsValid(backingPrint) ? { backingPrint } : {};
}

function decodeBootId(bytes: Uint8Array, offset: number): string | undefined {
  if (allZero(bytes, offset, BOOT_ID_BYTES)) return '';
  const text = bytes.subarray(offset, offset + BOOT_ID_BYTES);
  return text.every((byte) => byte > 0x20 && byte < 0x7f) ? String.fromCharCode(...text) : undefined;
}

function decodeText(bytes: Uint8Array, offset: number, lengthBytes: number): string | undefined {
  // Copied: a TextDecoder takes no shared memory.
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes.subarray(offset, offset + lengthBytes)));
  const encoded = new TextEncoder().encode(text);
  const same = encoded.byteLength === lengthBytes && encoded.every((byte, index) => bytes[offset + index] === byte);
  return same ? text : undefined;
}

/** The header with these places in the log instead of its own. A print of the backing device stays with a clean header only. */
export function withLogPlaces(
  header: GatewayHeader,
  durable: DurablePlace | undefined,
  dirtyTail: DirtyTailPlace | undefined,
): GatewayHeader {
  return {
    ...lasting(header),
    ...(durable === undefined ? {} : { durable }),
    ...(dirtyTail === undefined ? {} : { dirtyTail }),
    ...(header.backingPrint === undefined || header.state !== 'clean' ? {} : { backingPrint: header.backingPrint }),
  };
}

/** What holds however rarely it is stored. */
function lasting({ uuid, volumeBytes, backingIdentity, bootId, sequenceLimit, state, createdMs }: GatewayHeader): GatewayHeader {
  return { uuid, volumeBytes, backingIdentity, bootId, sequenceLimit, state, createdMs };
}

/** Which field of a header can't be stored, or makes no sense; `undefined` if none. */
export function gatewayHeaderProblem(header: GatewayHeader): string | undefined {
  const { uuid, volumeBytes, backingIdentity, bootId, sequenceLimit, createdMs } = header;
  if (uuid.byteLength !== 16) return `a UUID of ${uuid.byteLength} bytes`;
  if (!Number.isSafeInteger(volumeBytes) || volumeBytes < 0 || volumeBytes > VOLUME_BYTES_MAX) return `a volume of ${volumeBytes} bytes`;
  if (volumeBytes % SECTOR_BYTES !== 0) return `a volume of ${volumeBytes} bytes, not a multiple of ${SECTOR_BYTES}`;
  if (new TextEncoder().encode(backingIdentity).byteLength > BACKING_IDENTITY_BYTES_MAX) return 'a backing identity of more than 512 bytes';
  if (new TextDecoder('utf-8', { ignoreBOM: true }).decode(new TextEncoder().encode(backingIdentity)) !== backingIdentity)
    return 'a backing identity that is not UTF-8';
  if (bootId !== '' && !/^[\x21-\x7e]{36}$/.test(bootId)) return 'a boot id that is not 36 characters of ASCII';
  if (!Number.isSafeInteger(sequenceLimit) || sequenceLimit < 1 || sequenceLimit > KSET_SEQUENCE_MAX)
    return `a sequence limit of ${sequenceLimit}`;
  if (!Number.isSafeInteger(createdMs) || createdMs < 0) return `a creation time of ${createdMs} ms`;
  const { backingPrint, state } = header;
  if (backingPrint !== undefined && !(state === 'clean' && printIsValid(backingPrint))) return 'a print of the backing device that is none';
  return placeProblem('durable', header.durable) ?? placeProblem('dirty_tail', header.dirtyTail);
}

function placeProblem(name: string, place: DurablePlace | DirtyTailPlace | undefined): string | undefined {
  if (place === undefined) return undefined;
  const { sequence, position } = place;
  const { cacheSegId, segOff } = position;
  if (!Number.isSafeInteger(sequence) || sequence < 1 || sequence > KSET_SEQUENCE_MAX) return `a ${name} sequence of ${sequence}`;
  if (!Number.isInteger(cacheSegId) || cacheSegId < 0 || cacheSegId > 0xffffffff) return `a ${name} place in segment ${cacheSegId}`;
  if (!(segOff >= 0 && segOff <= LOG_OFFSET_MAX && segOff % LOG_ALIGNMENT_BYTES === 0)) return `a ${name} place at offset ${segOff}`;
  return undefined;
}

/** Each flush may store the header, so the number wraps: "later" is the sign of the 32-bit difference. */
export function isLaterGeneration(generation: number, other: number): boolean {
  return ((generation - other) | 0) > 0;
}

export function nextGeneration(generation: number): number {
  return (generation + 1) >>> 0;
}

/** `control`: device bytes from 0. Never throws, whatever they hold. */
export function readGatewayHeader(control: Uint8Array): GatewayHeaderRead {
  const copies = [readCopy(control, GATEWAY_HEADER_OFFSETS[0]), readCopy(control, GATEWAY_HEADER_OFFSETS[1])] as const;
  const newer = copies.find((copy) => copy.kind === 'newer');
  if (newer !== undefined) {
    return { ok: false, kind: 'newer', reason: `gateway header of format ${newer.version}, this program knows ${GATEWAY_FORMAT_VERSION}` };
  }
  const [first, second] = copies;
  const otherValid = first.kind === 'valid' && second.kind === 'valid';
  if (second.kind === 'valid' && (first.kind !== 'valid' || isLaterGeneration(second.generation, first.generation))) {
    return { ok: true, index: 1, value: second.value, generation: second.generation, otherValid };
  }
  if (first.kind === 'valid') return { ok: true, index: 0, value: first.value, generation: first.generation, otherValid };
  const backup = holds(control, GATEWAY_BACKUP_OFFSET, GATEWAY_HEADER_BYTES) ? readCopy(control, GATEWAY_BACKUP_OFFSET) : undefined;
  if (backup?.kind === 'valid') {
    return { ok: true, index: 1, value: backup.value, generation: backup.generation, otherValid: false, fromBackup: true };
  }
  if (backup?.kind === 'newer') {
    return { ok: false, kind: 'newer', reason: `gateway header of format ${backup.version}, this program knows ${GATEWAY_FORMAT_VERSION}` };
  }
  if (first.kind === 'absent' && second.kind === 'absent') {
    if (backup?.kind !== 'damaged') return { ok: false, kind: 'absent', reason: 'no gateway header' };
    return {
      ok: false,
      kind: 'damaged',
      reason: `both copies of the gateway header are gone, and its backup is not valid: ${backup.reason}`,
    };
  }
  const reasons = copies.map((copy) => (copy.kind === 'damaged' ? copy.reason : 'absent'));
  return { ok: false, kind: 'damaged', reason: `no valid copy of the gateway header: ${reasons.join(', ')}` };
}

/** One copy in full. Throws RangeError for a header that `gatewayHeaderProblem` refuses, and for a generation that is no u32. */
export function encodeGatewayHeader(control: Uint8Array, index: CopyIndex, header: GatewayHeader, generation: number): void {
  encodeAt(control, GATEWAY_HEADER_OFFSETS[index], header, generation);
}

/** The backup of `current`, without the places in the log and the print. The caller persists GATEWAY_BACKUP_OFFSET, +GATEWAY_HEADER_BYTES. */
export function writeGatewayBackup(control: Uint8Array, current: Pick<CurrentGatewayHeader, 'value' | 'generation'>): void {
  encodeAt(control, GATEWAY_BACKUP_OFFSET, lasting(current.value), current.generation);
}

/** The backup by itself; `undefined` if it is not valid. */
export function readGatewayBackup(control: Uint8Array): GatewayHeader | undefined {
  const backup = readCopy(control, GATEWAY_BACKUP_OFFSET);
  return backup.kind === 'valid' ? backup.value : undefined;
}

function encodeAt(control: Uint8Array, offset: number, header: GatewayHeader, generation: number): void {
  const problem = gatewayHeaderProblem(header);
  if (problem !== undefined) throw new RangeError(`gateway header: ${problem}`);
  if (!Number.isInteger(generation) || generation < 0 || generation > 0xffffffff)
    throw new RangeError(`gateway header: generation ${generation}`);
  const view = viewOf(control);
  const identity = new TextEncoder().encode(header.backingIdentity);
  control.fill(0, offset, offset + GATEWAY_HEADER_BYTES);
  view.setUint32(offset + AT.format_version, GATEWAY_FORMAT_VERSION, true);
  control.set(MAGIC, offset + AT.magic);
  view.setUint32(offset + AT.generation, generation, true);
  view.setUint32(offset + AT.state, STATES.indexOf(header.state), true);
  control.set(header.uuid, offset + AT.uuid);
  writeU64(view, offset + AT.volume_bytes, header.volumeBytes);
  writeU64(view, offset + AT.sequence_limit, header.sequenceLimit);
  writeU64(view, offset + AT.created_ms, header.createdMs);
  control.set(new TextEncoder().encode(header.bootId), offset + AT.boot_id);
  view.setUint32(offset + AT.backing_identity_bytes, identity.byteLength, true);
  control.set(identity, offset + AT.backing_identity);
  const { durable, dirtyTail } = header;
  if (durable !== undefined) {
    writeU64(view, offset + AT.durable_sequence, durable.sequence);
    view.setUint32(offset + AT.durable_segment, durable.position.cacheSegId, true);
    view.setUint32(offset + AT.durable_offset, durable.position.segOff, true);
  }
  if (dirtyTail !== undefined) {
    writeU64(view, offset + AT.dirty_tail_sequence, dirtyTail.sequence);
    view.setUint32(offset + AT.dirty_tail_segment, dirtyTail.position.cacheSegId, true);
    view.setUint32(offset + AT.dirty_tail_offset, dirtyTail.position.segOff, true);
  }
  const { backingPrint } = header;
  if (backingPrint !== undefined) {
    view.setUint32(offset + AT.print_bytes, backingPrint.bytes, true);
    view.setUint32(offset + AT.print_crc, backingPrint.crc, true);
    writeU64(view, offset + AT.print_seconds, backingPrint.changed?.seconds ?? 0);
    view.setUint32(offset + AT.print_nanoseconds, backingPrint.changed?.nanoseconds ?? 0, true);
    view.setUint32(offset + AT.print_records_crc, backingPrint.recordsCrc, true);
  }
  view.setUint32(offset + AT.crc, pcacheCrcOfRange(control, offset + AT.format_version, offset + GATEWAY_HEADER_BYTES), true);
}

/**
 * Writes the copy that is not current (copy 0 if there is no current one) and returns what is current now. The caller persists
 * GATEWAY_HEADER_OFFSETS[result.index], +GATEWAY_HEADER_BYTES, before relying on it. Throws as `encodeGatewayHeader`.
 */
export function writeGatewayHeader(
  control: Uint8Array,
  header: GatewayHeader,
  current: Pick<CurrentGatewayHeader, 'index' | 'generation'> | undefined,
): CurrentGatewayHeader {
  const index: CopyIndex = current?.index === 0 ? 1 : 0;
  const generation = nextGeneration(current?.generation ?? 0);
  encodeGatewayHeader(control, index, header, generation);
  return { value: header, index, generation, otherValid: current !== undefined };
}
