// Splitting the dev_t that stat(2) reports (Linux's 64-bit encoding, sys/sysmacros.h) into the numbers that sysfs and /proc use.

/** `major:minor` in decimal, as in /sys/dev/block. */
export function majorMinorOf(device: number): string {
  return `${majorOf(device)}:${minorOf(device)}`;
}

export function majorOf(device: number): number {
  const low = device % 2 ** 32;
  const high = Math.floor(device / 2 ** 32);
  return ((low >>> 8) & 0xfff) + (high & ~0xfff);
}

export function minorOf(device: number): number {
  const low = device % 2 ** 32;
  return (low & 0xff) + ((low >>> 12) & 0xfff00);
}
