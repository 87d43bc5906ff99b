// Figures as the monitor writes them: three digits and a unit, never wider than ten characters, so that columns stand still. Nothing measured
// is '-'.

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;
const NOTHING = '-';

/** `412 MiB`, `1.50 GiB`, `0 B`. */
export function bytesText(bytes: number): string {
  let value = Math.max(0, bytes);
  let unit = 0;
  // 999.5 would be written with four digits.
  while (value >= 999.5 && unit < byteUnits.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : threeDigits(value)} ${byteUnits[unit]!}`;
}

/** `34.1 MiB/s`. */
export function bytesPerSecondText(rate: number | undefined): string {
  return rate === undefined ? NOTHING : `${bytesText(rate)}/s`;
}

/** Things a second: `0`, `0.4`, `812`, `12.3k`, `1.20M`. */
export function rateText(rate: number | undefined): string {
  if (rate === undefined) return NOTHING;
  if (rate === 0) return '0';
  if (rate < 0.05) return '<0.1';
  if (rate < 9.95) return rate.toFixed(1);
  if (rate < 9999.5) return String(Math.round(rate));
  return rate < 999_500 ? `${threeDigits(rate / 1000)}k` : `${threeDigits(rate / 1e6)}M`;
}

/** `42 us`, `1.20 ms`, `8.00 s`; the micro sign where the terminal has it. */
export function latencyText(us: number | undefined, micro: string): string {
  if (us === undefined) return NOTHING;
  if (us < 999.5) return `${us < 9.95 ? us.toFixed(1) : Math.round(us)} ${micro}s`;
  return us < 999_500 ? `${threeDigits(us / 1000)} ms` : `${threeDigits(us / 1e6)} s`;
}

/** A share of 0 to 1 as `98.2 %`; never `100 %` if something is missing, nor `0 %` if there is something. */
export function percentText(share: number | undefined): string {
  if (share === undefined) return NOTHING;
  if (share <= 0 || share >= 1) return share <= 0 ? '0 %' : '100 %';
  return `${Math.min(99.9, Math.max(0.1, share * 100)).toFixed(1)} %`;
}

/** `3 s`, `2 min 05 s`, `1 h 04 min`, `3 d 04 h`. */
export function durationText(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const padded = (value: number): string => String(Math.floor(value)).padStart(2, '0');
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${padded(whole % 60)} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${padded((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${padded((whole % 86_400) / 3600)} h`;
}

/** `1 segment`, `2 segments`. */
export function countText(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Hours, minutes and seconds of the day, local time. */
export function clockText(nowMs: number): string {
  const date = new Date(nowMs);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
}

function threeDigits(value: number): string {
  return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : String(Math.round(value));
}
