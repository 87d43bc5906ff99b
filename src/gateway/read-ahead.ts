// Who reads the volume in order, and how far ahead of them it should be read. It sees misses only: what was read ahead is a hit, which no miss worker hears
// of, so a reader shows up again when it has come to the end of what was read ahead, or catches up with it.
//
// A stream is a reader that was seen to go on where it was. Its window begins with 128 KiB and doubles, each time it needs more, up to 1 MiB.

import { PAGE_BYTES } from '../media/layout.js';

const KIB = 1024;
const STREAMS = 8;
export const WINDOW_BYTES_MIN = 128 * KIB;
export const WINDOW_BYTES_MAX = 1024 * KIB;
/** Requests of one reader that has several under way come out of order, by this much. */
const DISORDER_BYTES = 128 * KIB;

interface Stream {
  /** End of the furthest miss. */
  positionBytes: number;
  /** End of what was read ahead, or is being read; `positionBytes` or more. */
  aheadBytes: number;
  /** What was last asked for; 0 at the start. More is asked for when the reader has come to the middle of it. */
  windowBytes: number;
  lastUse: number;
}

export class ReadAhead {
  /** What `note` asks for. */
  startBytes = 0;
  endBytes = 0;
  readonly #volumeBytes: number;
  readonly #streams: Stream[] = Array.from({ length: STREAMS }, () => ({
    // Far from everything.
    positionBytes: -Infinity,
    aheadBytes: -Infinity,
    windowBytes: 0,
    lastUse: 0,
  }));
  #uses = 0;
  #current: Stream | undefined;

  constructor(volumeBytes: number) {
    this.#volumeBytes = volumeBytes;
  }

  /** Notes a miss. @returns whether `startBytes` to `endBytes` should be read ahead: whole pages, but at the end of the volume */
  note(startBytes: number, endBytes: number): boolean {
    const stream = this.#streamAt(startBytes);
    stream.lastUse = ++this.#uses;
    this.#current = stream;
    if (startBytes > stream.aheadBytes + DISORDER_BYTES || startBytes < stream.positionBytes - DISORDER_BYTES) {
      stream.positionBytes = endBytes;
      stream.aheadBytes = endBytes;
      stream.windowBytes = 0;
      return false;
    }
    if (endBytes <= stream.positionBytes) return false;
    stream.positionBytes = endBytes;
    stream.aheadBytes = Math.max(stream.aheadBytes, endBytes);
    if (stream.windowBytes > 0 && (stream.aheadBytes - endBytes) * 2 >= stream.windowBytes) return false;
    const windowBytes = Math.min(Math.max(stream.windowBytes * 2, WINDOW_BYTES_MIN), WINDOW_BYTES_MAX);
    this.startBytes = stream.aheadBytes - (stream.aheadBytes % PAGE_BYTES);
    const end = stream.aheadBytes + windowBytes;
    this.endBytes = Math.min(end - (end % PAGE_BYTES), this.#volumeBytes);
    if (this.endBytes <= stream.aheadBytes) return false;
    stream.aheadBytes = this.endBytes;
    stream.windowBytes = windowBytes;
    return true;
  }

  /** Takes back what `note` asked for last: it is not read ahead now. */
  decline(): void {
    const stream = this.#current;
    if (stream === undefined) return;
    stream.aheadBytes = stream.positionBytes;
    stream.windowBytes = 0;
  }

  /** Forgets everybody: the device fails. */
  forget(): void {
    for (const stream of this.#streams) stream.positionBytes = stream.aheadBytes = -Infinity;
  }

  /** The stream that goes on at an offset, or else the one that was quiet for longest. */
  #streamAt(offsetBytes: number): Stream {
    let oldest = this.#streams[0]!;
    for (const stream of this.#streams) {
      if (offsetBytes >= stream.positionBytes - DISORDER_BYTES && offsetBytes <= stream.aheadBytes + DISORDER_BYTES) return stream;
      if (stream.lastUse < oldest.lastUse) oldest = stream;
    }
    return oldest;
  }
}
