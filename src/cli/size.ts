// Sizes as people write and read them: K, M, G, T are powers of 1024.

import { PcacheError } from '../errors.js';

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

/** Bytes in the largest unit that keeps the number at 1 or above, three digits: `1.50 GiB`, `512 B`. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < unitLetters.length - 1) {
    value /= 1024;
    unit++;
  }
  if (unit === 0) return `${value} B`;
  const digits = value >= 100 || Number.isInteger(value) ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${unitLetters[unit]!}iB`;
}

/** Seconds as `3 s`, `2 min 05 s`, `1 h 04 min`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const padded = (value: number): string => String(value).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${padded(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${padded(Math.floor((whole % 3600) / 60))} min`;
}
