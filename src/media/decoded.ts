// What every decoder of this folder returns: a value, or one line that says why there is none. Decoders survive arbitrary bytes: they never
// throw and never loop on what the media hold.

export type Decoded<T> = { readonly ok: true; readonly value: T } | Refused;

export interface Refused {
  readonly ok: false;
  /** One line without a full stop, fit to follow "WHAT: ". */
  readonly reason: string;
}

export function accepted<T>(value: T): Decoded<T> {
  return { ok: true, value };
}

export function refused(reason: string): Refused {
  return { ok: false, reason };
}
