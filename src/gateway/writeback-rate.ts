// How fast writing back went over the last seconds: from what the backing device had taken in all, noted now and then. It comes in bursts, so the time looked
// at is some seconds long. What is taken back, since its batch has failed, was never there.

/** What is noted is so far apart at least. */
const SPACING_MS = 500;
const ENTRIES = 10;

export class WritebackRate {
  /** The oldest first. */
  readonly #noted: { readonly ms: number; readonly bytes: number }[] = [];

  /** @param takenBytes in all, up to `nowMs`; less than before if something was taken back. @returns of the last SPACING_MS * ENTRIES, or of as much of it as is known; 0 at first */
  bytesPerSecond(nowMs: number, takenBytes: number): number {
    const noted = this.#noted;
    const last = noted.at(-1);
    if (last === undefined || nowMs - last.ms >= SPACING_MS || nowMs < last.ms) {
      // The clock was set back: what was noted before means nothing.
      if (last !== undefined && nowMs < last.ms) noted.length = 0;
      noted.push({ ms: nowMs, bytes: takenBytes });
      if (noted.length > ENTRIES) noted.shift();
    }
    for (let at = noted.length - 1; at >= 0 && noted[at]!.bytes > takenBytes; at--) noted[at] = { ms: noted[at]!.ms, bytes: takenBytes };
    const first = noted[0]!;
    return nowMs - first.ms < SPACING_MS ? 0 : ((takenBytes - first.bytes) * 1000) / (nowMs - first.ms);
  }
}
