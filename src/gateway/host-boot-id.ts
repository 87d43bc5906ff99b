// Which boot of the host this is. Keys that were staged and not yet closed count only as long as it lasts: after a restart the memory that held
// their payload may be gone.

import { readFileSync } from 'node:fs';

/** 36 characters, random for each boot (Documentation/admin-guide/sysctl/kernel.rst). */
export function hostBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}
