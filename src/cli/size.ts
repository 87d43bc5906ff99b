// Sizes as people write and read them: K, M, G, T are powers of 1024.

import { PcacheError } from '../errors.js';

export { exactSize, formatSize } from '../media/size-text.js';

const unitLetters = ['', 'K', 'M', 'G', 'T'] as const;

/**
 * Bytes of `8G`, `1.5M`, `512`, `64KiB`. `what` names the size in the error message.
 * Throws PcacheError `usage` unless it is a whole number of bytes from 1 to 2^53 - 1.
 */
export function parseSize(text: string, what: string): number {
  const match = /^(\d{1,16}(?:\.\d{1,9})?)([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  const letter = (match?.[2] ?? '').toUpperCase();
  const bytes = match === null ? NaN : Number(match[1]) * 1024 ** unitLetters.findIndex((unit) => unit === letter);
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new PcacheError('usage', `${what} '${text}': not a size`, {
      hint: 'Sizes are numbers with K, M, G or T after them, such as 512M or 8G.',
    });
  }
  return bytes;
}

/** Seconds as `3 s`, `2 min 05 s`, `1 h 04 min`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const padded = (value: number): string => String(value).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${padded(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${padded(Math.floor((whole % 3600) / 60))} min`;
}

/** How long something took that may have been quick: `less than a second`, otherwise as formatDuration. */
export function formatTook(seconds: number): string {
  return seconds < 1 ? 'less than a second' : formatDuration(seconds);
}
