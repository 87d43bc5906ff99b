// The environment of an engine process: its supervisor's, but for what takes time, and with how the C library is to copy large pieces.
//
// What a large write brings is not read again soon, and nor is what lay in the cache where it goes. Copied past the processor's caches (with non-temporal
// stores, as the kernel's dm-pcache copies all that it writes) it need not be read from memory before it is overwritten. glibc's memmove does so from three quarters of
// the shared cache's size on, which the pieces of a request never reach; its tunable asks for it from a lower one. Other C libraries don't know it.
//
// Invariant: what a user has set of this stays.

import { COPY_TO_READ_BYTES } from '../device/libc.js';
import { withoutCertificates } from './daemon-environment.js';

/** In bytes; glibc 2.36 takes no less than 16,449. */
const PAST_CACHES_BYTES = 2 * COPY_TO_READ_BYTES;
/** Name as in glibc's manual, "Hardware Capability Tunables". */
const TUNABLE = 'glibc.cpu.x86_non_temporal_threshold';

export function engineEnvironment(own: NodeJS.ProcessEnv, arch: string = process.arch): NodeJS.ProcessEnv {
  const env = withoutCertificates(own);
  const set = own.GLIBC_TUNABLES ?? '';
  if (arch !== 'x64' || set.includes(TUNABLE)) return env;
  return { ...env, GLIBC_TUNABLES: `${set === '' ? '' : `${set}:`}${TUNABLE}=${PAST_CACHES_BYTES}` };
}
