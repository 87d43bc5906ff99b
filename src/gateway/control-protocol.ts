// The control socket's language: one JSON object a line. A request `{"id":1,"op":"status"}` is answered by any number of
// `{"id":1,"progress":{...}}` and then exactly one `{"id":1,"ok":true,"result":...}` or `{"id":1,"ok":false,"error":{code,message,hint}}`.
// Requests of one connection may overlap. Whatever comes in is checked by hand here; nothing else looks at raw input.

import { PcacheError, messageOf, type PcacheErrorCode } from '../errors.js';
import { GC_PERCENT_MAX, GC_PERCENT_MIN } from '../media/layout.js';

/** Longest line either side takes, its newline not counted. */
export const CONTROL_LINE_BYTES_MAX = 64 * 1024;

/**
 * - `ping`: answers with the engine's pid.
 * - `status`: a StatusSnapshot. `dm_status`: the line of `dmsetup status`.
 * - `flush`: writes back what is dirty now; progress lines carry FlushProgressLine.
 * - `message`: tunes: `gc_percent`, or `writeback`, which pauses or resumes writing back.
 * - `segments`: a SegmentMap, what the segments of the cache hold.
 * - `unmount_check`: who uses the mount.
 * - `wait_end`: answered when the volume was unmounted and the log closed, with the last StatusSnapshot.
 */
export type ControlRequest =
  | { id: number; op: 'ping' | 'status' | 'dm_status' | 'unmount_check' }
  /** These two take their time; one client has 64 of them in progress at most. */
  | { id: number; op: 'flush' }
  | { id: number; op: 'wait_end' }
  | { id: number; op: 'message'; gc_percent: number }
  | { id: number; op: 'message'; writeback: WritebackOrder }
  /** `cells`: characters of the map, 1 to SEGMENT_CELLS_MAX. */
  | { id: number; op: 'segments'; cells: number };
export type ControlOp = ControlRequest['op'];

const plainOps: readonly string[] = ['ping', 'status', 'dm_status', 'flush', 'unmount_check', 'wait_end'] satisfies ControlOp[];

export const SEGMENT_CELLS_MAX = 4096;

/**
 * - `pause`: nothing is written back, but for a flush (`umount --flush` included) and while writers wait for room.
 * - `resume`: the end of that.
 * It lasts beyond the engine, and not beyond the mount.
 */
export type WritebackOrder = 'pause' | 'resume';

/** What the segments hold, in so many cells of the same number of segments. Segments are numbered as in the log's positions. */
export interface SegmentMap {
  /** Segments of the cache device. */
  seg_total: number;
  segments_per_cell: number;
  /**
   * A character for each cell, no more than were asked for: `-` no segment of the cache, `L` log (of one of them at least), `.` free (all of them), `0` to `9` data:
   * whole tenths of their bytes that are still live, together, free ones counted as empty.
   */
  cells: string;
  /** Numbers of the segments that the log's places are in. */
  key_tail: number;
  dirty_tail: number;
  key_head: number;
}

/** The work of a flush, not the volume's bytes that it is about: those are `dirty_bytes` of the status. See FlushProgress. */
export interface FlushProgressLine {
  bytes_total: number;
  bytes_left: number;
}

export interface ControlErrorBody {
  code: PcacheErrorCode;
  message: string;
  hint?: string;
}

export type ControlResponse =
  | { id: number; progress: FlushProgressLine }
  | { id: number; ok: true; result: unknown }
  /** `id` is null if the request could not be read; the connection is closed after it. */
  | { id: number | null; ok: false; error: ControlErrorBody };

const errorCodes: Readonly<Record<PcacheErrorCode, true>> = {
  usage: true,
  'not-found': true,
  permission: true,
  'in-use': true,
  busy: true,
  unsupported: true,
  'no-space': true,
  'too-small': true,
  'not-a-cache': true,
  damaged: true,
  mismatch: true,
  'holds-data': true,
  io: true,
  'corrupt-data': true,
  closed: true,
  internal: true,
};

/** Throws PcacheError `usage` for anything that is not a request. */
export function parseControlRequest(line: string): ControlRequest {
  const { id, op, ...rest } = objectOf(line);
  if (!isId(id)) throw garbage('id is not a number');
  if (typeof op !== 'string') throw garbage('op is not a text');
  if (op === 'message') return tuningOf(id, rest);
  if (op === 'segments') {
    const cells = rest.cells;
    if (!isIntegerWithin(cells, 1, SEGMENT_CELLS_MAX)) throw garbage(`cells is not a number from 1 to ${SEGMENT_CELLS_MAX}`);
    return { id, op, cells };
  }
  if (!plainOps.includes(op)) throw garbage('op is unknown');
  return { id, op: op as Exclude<ControlOp, 'message' | 'segments'> };
}

function tuningOf(id: number, { writeback, gc_percent: percent }: Record<string, unknown>): ControlRequest {
  if (writeback !== undefined) {
    if (writeback !== 'pause' && writeback !== 'resume') throw garbage('writeback is neither pause nor resume');
    if (percent !== undefined) throw garbage('one thing at a time');
    return { id, op: 'message', writeback };
  }
  if (!isIntegerWithin(percent, GC_PERCENT_MIN, GC_PERCENT_MAX)) {
    throw garbage(`gc_percent is not a number from ${GC_PERCENT_MIN} to ${GC_PERCENT_MAX}`);
  }
  return { id, op: 'message', gc_percent: percent };
}

function isIntegerWithin(value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;
}

/** Throws PcacheError `usage` for anything that is not a response. */
export function parseControlResponse(line: string): ControlResponse {
  const fields = objectOf(line);
  const { id, ok, error, progress } = fields;
  if (id !== null && !isId(id)) throw garbage('id is not a number');
  if (ok === false) return { id, ok, error: errorBodyOf(error) };
  if (id === null) throw garbage('an answer without id');
  if (ok === true) return { id, ok, result: fields.result };
  if (!isProgress(progress)) throw garbage('neither progress nor an answer');
  return { id, progress };
}

export function encodeControlLine(message: ControlRequest | ControlResponse): string {
  return `${JSON.stringify(message)}\n`;
}

/** An error of any kind as it travels; what is no PcacheError is a bug and says so. */
export function errorBody(error: unknown): ControlErrorBody {
  if (!(error instanceof PcacheError)) return { code: 'internal', message: messageOf(error) };
  return { code: error.code, message: messageOf(error), ...(error.hint === undefined ? {} : { hint: error.hint }) };
}

/** The error that travelled, as the error it was. */
export function errorOfBody(body: ControlErrorBody): PcacheError {
  return new PcacheError(body.code, body.message, body.hint === undefined ? {} : { hint: body.hint });
}

function errorBodyOf(value: unknown): ControlErrorBody {
  const { code, message, hint } = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  const known = typeof code === 'string' && Object.hasOwn(errorCodes, code) ? (code as PcacheErrorCode) : 'internal';
  return { code: known, message: typeof message === 'string' ? message : 'no reason given', ...(typeof hint === 'string' ? { hint } : {}) };
}

function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isProgress(value: unknown): value is FlushProgressLine {
  if (typeof value !== 'object' || value === null) return false;
  const { bytes_total: total, bytes_left: left } = value as Record<string, unknown>;
  return typeof total === 'number' && typeof left === 'number';
}

function objectOf(line: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new PcacheError('usage', 'control message: not JSON', { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw garbage('not an object');
  return value as Record<string, unknown>;
}

function garbage(why: string): PcacheError {
  return new PcacheError('usage', `control message: ${why}`);
}

/** Cuts a byte stream into lines and never holds more than one line of the longest kind. */
export class LineReader {
  #rest: Buffer = Buffer.alloc(0);

  /** The lines that `chunk` completes, without their newlines. Throws PcacheError `usage` if a line is too long; the reader is spent then. */
  feed(chunk: Buffer): string[] {
    const lines: string[] = [];
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10)) {
      if (end > CONTROL_LINE_BYTES_MAX) throw garbage(`longer than ${CONTROL_LINE_BYTES_MAX} bytes`);
      lines.push(bytes.toString('utf8', 0, end));
      bytes = bytes.subarray(end + 1);
    }
    if (bytes.length > CONTROL_LINE_BYTES_MAX) throw garbage(`longer than ${CONTROL_LINE_BYTES_MAX} bytes`);
    this.#rest = bytes;
    return lines;
  }
}
