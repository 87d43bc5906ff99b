// Mount options as in `-o a,b=c`: one table says what exists, what each takes and what help says of it. The result is complete (defaults
// filled in) and structured-cloneable. Names follow dm-pcache and mount.fuse where they have the thing.

import { availableParallelism } from 'node:os';
import { PcacheError } from '../errors.js';
import { GC_PERCENT_MAX, GC_PERCENT_MIN } from '../media/layout.js';
import { parseListenAddress } from './listen-address.js';
import type { ListenAddress } from './listen-address.js';
import { nearest } from './nearest.js';

export type Transport = 'dev-fuse' | 'io-uring' | 'libfuse';
const TRANSPORTS: readonly string[] = ['dev-fuse', 'io-uring', 'libfuse'] satisfies Transport[];

export interface MountOptions {
  transport: Transport;
  /** Queue workers, 1 to 64. */
  workers: number;
  /** How long a queue worker polls for its next request before it sleeps, while that pays; 0 to POLL_US_MAX microseconds, 0: never. */
  pollUs: number;
  /** 0 to 90; undefined keeps what the cache has. */
  gcPercent: number | undefined;
  readOnly: boolean;
  allowOther: boolean;
  /** Owner of the files shown; undefined is who mounts. */
  uid: number | undefined;
  gid: number | undefined;
  /** Permission bits taken away from the files shown. */
  umask: number;
  kernelCache: boolean;
  /** Where the metrics are served over HTTP; undefined: nowhere. */
  metricsListen: ListenAddress | undefined;
  /** Accept a backing device of another identity but the same size. */
  adopt: boolean;
  /** Write everything dirty back when the volume was unmounted, before the gateway ends. */
  flushOnStop: boolean;
}

const WORKERS_MAX = 64;
const POLL_US_MAX = 1000;
/** Where programs and workers share the cores, who polls keeps the program from asking (docs/performance.md). */
const POLL_US_DEFAULT = 0;
const ID_MAX = 0xffff_fffe;
/** The volume is its owner's alone unless the user says otherwise. */
const UMASK_DEFAULT = 0o077;

interface OptionRow {
  readonly name: string;
  /** How help writes the value; undefined for a flag. */
  readonly value?: string;
  readonly help: string;
  readonly apply: (options: MountOptions, value: string) => void;
}

export const mountOptionRows: readonly OptionRow[] = [
  {
    name: 'transport',
    value: TRANSPORTS.join('|'),
    help: 'how to speak to the kernel (default dev-fuse; io-uring is faster and does not survive a crash unnoticed)',
    apply: (options, value) => {
      if (!TRANSPORTS.includes(value)) throw usage(`transport=${value}: not one of ${TRANSPORTS.join(', ')}`);
      options.transport = value as Transport;
    },
  },
  {
    name: 'workers',
    value: 'N',
    help: `queue workers, 1 to ${WORKERS_MAX} (default: one a core)`,
    apply: (options, value) => (options.workers = integer('workers', value, 1, WORKERS_MAX)),
  },
  {
    name: 'poll_us',
    value: 'N',
    help: `microseconds that a queue worker polls for its next request before it sleeps, 0 to ${POLL_US_MAX} (default ${POLL_US_DEFAULT})`,
    apply: (options, value) => (options.pollUs = integer('poll_us', value, 0, POLL_US_MAX)),
  },
  {
    name: 'gc_percent',
    value: 'N',
    help: `collect garbage when more than N percent of the segments are in use, ${GC_PERCENT_MIN} to ${GC_PERCENT_MAX}`,
    apply: (options, value) => (options.gcPercent = integer('gc_percent', value, GC_PERCENT_MIN, GC_PERCENT_MAX)),
  },
  { name: 'ro', help: 'serve the volume read-only', apply: (options) => (options.readOnly = true) },
  { name: 'allow_other', help: 'let other users in', apply: (options) => (options.allowOther = true) },
  {
    name: 'uid',
    value: 'N',
    help: 'owner of the files shown (default: who mounts)',
    apply: (options, value) => (options.uid = integer('uid', value, 0, ID_MAX)),
  },
  {
    name: 'gid',
    value: 'N',
    help: 'group of the files shown (default: of who mounts)',
    apply: (options, value) => (options.gid = integer('gid', value, 0, ID_MAX)),
  },
  {
    name: 'umask',
    value: 'OCTAL',
    help: 'permission bits taken away from the files shown (default 077)',
    apply: (options, value) => {
      if (!/^[0-7]{1,4}$/.test(value) || Number.parseInt(value, 8) > 0o777) throw usage(`umask=${value}: not an octal number up to 777`);
      options.umask = Number.parseInt(value, 8);
    },
  },
  {
    name: 'kernel_cache',
    help: "let the kernel's page cache hold what it reads",
    apply: (options) => (options.kernelCache = true),
  },
  {
    name: 'metrics_listen',
    value: 'HOST:PORT',
    help: 'serve the metrics over HTTP there, at /metrics: 127.0.0.1:9464, [::1]:9464 (no password: keep it to this machine)',
    apply: (options, value) => (options.metricsListen = parseListenAddress('mount option metrics_listen', value)),
  },
  {
    name: 'adopt',
    help: 'accept another backing device of the same size, or one that was written to after the cache was closed, and remember it; once is enough',
    apply: (options) => (options.adopt = true),
  },
  {
    name: 'flush_on_stop',
    help: 'write everything dirty back at every orderly end, however it is asked for (for a cache that does not outlive the machine)',
    apply: (options) => (options.flushOnStop = true),
  },
];

export function defaultMountOptions(): MountOptions {
  return {
    transport: 'dev-fuse',
    workers: Math.min(WORKERS_MAX, availableParallelism()),
    pollUs: POLL_US_DEFAULT,
    gcPercent: undefined,
    readOnly: false,
    allowOther: false,
    uid: undefined,
    gid: undefined,
    umask: UMASK_DEFAULT,
    kernelCache: false,
    metricsListen: undefined,
    adopt: false,
    flushOnStop: false,
  };
}

/**
 * Parses the texts of all `-o` options in order; a later one wins. `rw` is taken, for callers such as fstab.
 * Throws PcacheError `usage` for anything unknown, naming the nearest that exists.
 */
export function parseMountOptions(texts: readonly string[]): MountOptions {
  const options = defaultMountOptions();
  for (const item of texts.flatMap((text) => text.split(','))) {
    if (item === '') continue;
    const equals = item.indexOf('=');
    const name = equals < 0 ? item : item.slice(0, equals);
    const value = equals < 0 ? undefined : item.slice(equals + 1);
    if (name === 'rw' && value === undefined) {
      options.readOnly = false;
      continue;
    }
    const row = mountOptionRows.find((candidate) => candidate.name === name);
    if (row === undefined) throw unknownOption(name);
    if (row.value === undefined && value !== undefined) throw usage(`${name}: takes no value`);
    if (row.value !== undefined && (value === undefined || value === '')) throw usage(`${name}: needs a value, ${name}=${row.value}`);
    row.apply(options, value ?? '');
  }
  return options;
}

function unknownOption(name: string): PcacheError {
  const names = mountOptionRows.map((row) => row.name);
  const guess = nearest(name, names);
  return usage(`${name}: unknown option`, guess === undefined ? `There are ${names.join(', ')}.` : `Did you mean ${guess}?`);
}

function integer(name: string, value: string, min: number, max: number): number {
  const number = /^\d{1,10}$/.test(value) ? Number(value) : NaN;
  if (!(number >= min && number <= max)) throw usage(`${name}=${value}: not a number from ${min} to ${max}`);
  return number;
}

function usage(why: string, hint?: string): PcacheError {
  return new PcacheError('usage', `mount option ${why}`, hint === undefined ? {} : { hint });
}
