// What `check` finds, and the list it goes into. Invariant of the list: a rule that is broken a million times takes a bounded number of lines, and the
// rest of them is counted.

/**
 * - `error`: a rule of the format is broken, or data is lost or at risk.
 * - `warning`: something is wrong that costs nothing yet, such as one bad copy of a record that is kept twice.
 * - `info`: nothing is wrong; what the rest should be read with.
 */
export type Severity = 'error' | 'warning' | 'info';

/** Stable names, one for each kind of finding. */
export type FindingCode =
  | 'superblock'
  | 'device-size'
  | 'record'
  | 'record-copy'
  | 'cache-info'
  | 'chain'
  | 'generation'
  | 'tail'
  | 'gateway-header'
  | 'binding'
  | 'backing-changed'
  | 'log-damaged'
  | 'log-lost'
  | 'log-end'
  | 'log-remains'
  | 'kset'
  | 'key'
  | 'key-segment'
  | 'key-generation'
  | 'stale-keys'
  | 'staged-keys'
  | 'payload-shared'
  | 'data-lost'
  | 'data-crc';

export interface Finding {
  readonly severity: Severity;
  readonly code: FindingCode;
  /** Where on the media, or `volume`. */
  readonly place: string;
  /** One line: what is wrong and what it means for the user's data. */
  readonly message: string;
  /** Bytes of the volume that are concerned, where it is about some of them; the message does not repeat them. */
  readonly volumeRange?: { readonly offsetBytes: number; readonly lengthBytes: number };
}

/** Findings of one code and severity that are kept. */
export const FINDINGS_PER_CODE_MAX = 1000;

export class FindingList {
  readonly #findings: Finding[] = [];
  readonly #counts = new Map<string, { severity: Severity; code: FindingCode; count: number }>();

  add(severity: Severity, code: FindingCode, place: string, message: string, volumeRange?: Finding['volumeRange']): void {
    const name = `${severity} ${code}`;
    const counted = this.#counts.get(name) ?? { severity, code, count: 0 };
    this.#counts.set(name, counted);
    counted.count++;
    if (counted.count > FINDINGS_PER_CODE_MAX) return;
    this.#findings.push({ severity, code, place, message, ...(volumeRange === undefined ? {} : { volumeRange }) });
  }

  /** All that are kept, in the order in which they were found, then what was left out. */
  finish(): Finding[] {
    const leftOut = [...this.#counts.values()].filter(({ count }) => count > FINDINGS_PER_CODE_MAX);
    return [
      ...this.#findings,
      ...leftOut.map(({ severity, code, count }): Finding => {
        return { severity, code, place: 'cache', message: `${count - FINDINGS_PER_CODE_MAX} more like these` };
      }),
    ];
  }
}
