// Sizes as people read them: units are powers of 1024. Programs get bytes.

const unitLetters = ['', 'K', 'M', 'G', 'T'] as const;

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

/** The same where every byte counts: `96 MiB`, and `96.0 MiB (100662784 bytes)` for what is not quite that. */
export function exactSize(bytes: number): string {
  const text = formatSize(bytes);
  const [value, unit] = text.split(' ');
  const unitBytes = 1024 ** unitLetters.findIndex((letter) => (letter === '' ? 'B' : `${letter}iB`) === unit);
  return Number(value) * unitBytes === bytes ? text : `${text} (${bytes} bytes)`;
}
