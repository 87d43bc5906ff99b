// The backup that a repair makes of what it will change: everything that is needed to put it back, and to tell whether it belongs to a cache.
//
//   line 1   pcache-repair-backup 1
//   line 2   JSON: the cache's uuid (or null), its size, when, the patches (offset and length of each), the CRC of what follows
//   rest     for each patch its old bytes, then its new ones
//
// Invariant: nothing of it is believed before the CRC over lines 2's patches and all bytes is right, so a backup that was cut short is refused whole.

import { PcacheError } from '../errors.js';
import { pcacheCrcOfRange } from '../media/crc32c.js';
import type { Patch } from './repair-draft.js';

export interface RepairBackup {
  /** Of the gateway header before the repair, 32 hexadecimal digits; '' if there was none. */
  readonly uuid: string;
  readonly deviceBytes: number;
  /** ISO 8601. */
  readonly madeAt: string;
  readonly patches: readonly Patch[];
}

const MAGIC_LINE = 'pcache-repair-backup 1\n';
const HEAD_BYTES_MAX = 64 * 1024 * 1024;

export function encodeBackup({ uuid, deviceBytes, madeAt, patches }: RepairBackup): Buffer {
  const data = Buffer.concat(patches.flatMap(({ before, after }) => [before, after]));
  const places = patches.map(({ deviceOffset, before }) => [deviceOffset, before.length] as const);
  const head = { uuid, device_bytes: deviceBytes, made_at: madeAt, patches: places };
  const crc = crcOf(head, data);
  return Buffer.concat([Buffer.from(`${MAGIC_LINE}${JSON.stringify({ ...head, crc })}\n`), data]);
}

/** Throws PcacheError `damaged` if it is no whole backup. */
export function decodeBackup(bytes: Buffer): RepairBackup {
  if (bytes.indexOf(MAGIC_LINE) !== 0) throw new PcacheError('damaged', 'not a backup that a repair made');
  const end = bytes.subarray(0, MAGIC_LINE.length + HEAD_BYTES_MAX).indexOf('\n', MAGIC_LINE.length);
  const head = end < 0 ? undefined : parseHead(bytes.toString('utf8', MAGIC_LINE.length, end));
  if (head === undefined) throw new PcacheError('damaged', 'the backup is damaged: its head can not be read');
  const data = bytes.subarray(end + 1);
  const { crc, ...rest } = head;
  const wanted = head.patches.reduce((sum, [, length]) => sum + 2 * length, 0);
  if (data.length !== wanted) throw new PcacheError('damaged', `the backup is damaged: ${data.length} bytes of data, not ${wanted}`);
  if (crcOf(rest, data) !== crc) throw new PcacheError('damaged', 'the backup is damaged: bad CRC');
  let at = 0;
  const patches = head.patches.map(([deviceOffset, length]): Patch => {
    const before = data.subarray(at, at + length);
    const after = data.subarray(at + length, at + 2 * length);
    at += 2 * length;
    return { deviceOffset, before, after };
  });
  return { uuid: head.uuid, deviceBytes: head.device_bytes, madeAt: head.made_at, patches };
}

interface Head {
  readonly uuid: string;
  readonly device_bytes: number;
  readonly made_at: string;
  readonly patches: (readonly [deviceOffset: number, lengthBytes: number])[];
  readonly crc: number;
}

function crcOf(head: Omit<Head, 'crc'>, data: Uint8Array): number {
  const bytes = Buffer.concat([Buffer.from(JSON.stringify([head.uuid, head.device_bytes, head.made_at, head.patches])), data]);
  return pcacheCrcOfRange(bytes, 0, bytes.length);
}

function parseHead(text: string): Head | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return undefined;
  }
  return isHead(value) ? value : undefined;
}

function isHead(value: unknown): value is Head {
  if (typeof value !== 'object' || value === null) return false;
  const { uuid, device_bytes: deviceBytes, made_at: madeAt, patches, crc } = value as Record<string, unknown>;
  if (typeof uuid !== 'string' || typeof madeAt !== 'string' || !isCount(deviceBytes) || !isCount(crc) || !Array.isArray(patches))
    return false;
  return patches.every((patch) => Array.isArray(patch) && patch.length === 2 && isCount(patch[0]) && isCount(patch[1]) && patch[1] > 0);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
