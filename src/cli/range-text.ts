// Ranges of the volume in words: readable and exact.

import type { VolumeRange } from '../cache/volume-ranges.js';
import { formatSize } from './size.js';

/** `at 64 KiB, 4 KiB long (bytes 65536 to 69631)`. */
export function rangeText({ offsetBytes, lengthBytes }: VolumeRange): string {
  return `at ${formatSize(offsetBytes)}, ${formatSize(lengthBytes)} long (bytes ${offsetBytes} to ${offsetBytes + lengthBytes - 1})`;
}

/** At most `linesMax` ranges, a line each, and what is left out. */
export function rangeLines(ranges: readonly VolumeRange[], linesMax: number, indent: string): string[] {
  const lines = ranges.slice(0, linesMax).map((range) => `${indent}${rangeText(range)}`);
  if (ranges.length > linesMax) lines.push(`${indent}${ranges.length - linesMax} more: --json lists them`);
  return lines;
}

export function rangeRecord({ offsetBytes, lengthBytes }: VolumeRange): { volume_offset: number; volume_bytes: number } {
  return { volume_offset: offsetBytes, volume_bytes: lengthBytes };
}

export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
