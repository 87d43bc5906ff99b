// The grid of tests and what fio says about each. fio's JSON is read here and nowhere else.
//
// Invariants: every test is direct I/O on the first WORKING_SET_BYTES of the file; a job ends after its time or after its share of a number of bytes,
// whichever comes first, so that a fast subject does not fill a cache that a slow one only half fills.

export const MIB = 1 << 20;
/** What every test reads and writes: the start of the volume. */
export const WORKING_SET_BYTES = 256 * MIB;

export interface GridTest {
  readonly id: string;
  /** For tables. */
  readonly title: string;
  readonly rw: 'randwrite' | 'randread' | 'write' | 'read';
  readonly blockBytes: number;
  /** Requests that each job keeps in flight. */
  readonly depth: number;
  readonly jobs: number;
  /** Part of `--quick`: those that a target is about. */
  readonly isQuick: boolean;
}

function random(rw: 'randwrite' | 'randread', depth: number, jobs: number, isQuick: boolean): GridTest {
  const verb = rw === 'randwrite' ? 'write' : 'read';
  const title = `4 KiB random ${verb}, depth ${depth}, ${jobs} job${jobs === 1 ? '' : 's'}`;
  return { id: `${rw}-4k-${depth}x${jobs}`, title, rw, blockBytes: 4096, depth, jobs, isQuick };
}

function sequential(rw: 'write' | 'read'): GridTest {
  return { id: `${rw}-1m-1x1`, title: `1 MiB sequential ${rw}, 1 job`, rw, blockBytes: MIB, depth: 1, jobs: 1, isQuick: true };
}

export const gridTests: readonly GridTest[] = [
  random('randwrite', 1, 1, true),
  random('randread', 1, 1, true),
  random('randwrite', 1, 4, true),
  random('randread', 1, 4, true),
  random('randwrite', 16, 1, false),
  random('randread', 16, 1, false),
  random('randwrite', 16, 4, true),
  random('randread', 16, 4, true),
  random('randwrite', 1, 16, false),
  sequential('write'),
  sequential('read'),
];

export function isWrite(test: Pick<GridTest, 'rw'>): boolean {
  return test.rw.endsWith('write');
}

export interface FioJob extends Pick<GridTest, 'rw' | 'blockBytes' | 'depth' | 'jobs'> {
  /** Where in the file; default from its start. */
  readonly offsetBytes?: number;
  /** Default the working set. */
  readonly sizeBytes?: number;
  /** Undefined: until the bytes are done. */
  readonly seconds?: number;
  /** For all jobs together; undefined: until the time is over. */
  readonly bytesMax?: number;
  /** With one fsync at the end, which counts. */
  readonly endFsync?: boolean;
}

/** Without an end of its own a job has this many bytes, which none does in its time. */
const ENDLESS_BYTES = 2 ** 50;

export function fioArguments(file: string, job: FioJob): string[] {
  const sizeBytes = job.sizeBytes ?? WORKING_SET_BYTES;
  const bytes = job.bytesMax === undefined ? (job.seconds === undefined ? sizeBytes : ENDLESS_BYTES) : job.bytesMax;
  return [
    '--name=bench',
    `--filename=${file}`,
    `--rw=${job.rw}`,
    `--bs=${job.blockBytes}`,
    `--iodepth=${job.depth}`,
    `--numjobs=${job.jobs}`,
    `--offset=${job.offsetBytes ?? 0}`,
    `--size=${sizeBytes}`,
    // A whole number of blocks for each job.
    `--io_size=${Math.max(1, Math.floor(bytes / job.jobs / job.blockBytes)) * job.blockBytes}`,
    ...(job.seconds === undefined ? [] : [`--runtime=${Math.round(job.seconds * 1000)}ms`]),
    ...(job.endFsync === true ? ['--end_fsync=1'] : []),
    `--ioengine=${job.depth === 1 ? 'psync' : 'libaio'}`,
    '--direct=1',
    '--group_reporting',
    '--fallocate=none',
    '--invalidate=0',
    '--disk_util=0',
    // Nothing to calibrate then: a tenth of a second less for each start.
    '--clocksource=clock_gettime',
    '--eta=never',
    '--clat_percentiles=0',
    '--lat_percentiles=1',
    '--output-format=json',
  ];
}

export interface FioFigures {
  readonly requests: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly requestsPerSecond: number;
  readonly bytesPerSecond: number;
  /** From the call to its answer, submission included. */
  readonly meanLatencyUs: number;
  readonly p99LatencyUs: number;
}

/** The figures of a job's only direction. Throws an Error that says what is missing, or that fio had an error. */
export function parseFio(text: string, direction: 'write' | 'read'): FioFigures {
  // fio may print notes before the JSON.
  const start = text.indexOf('{');
  if (start < 0) throw new Error(`fio: no JSON in what it printed: ${text.slice(0, 200).trim()}`);
  const job = fieldsOf(arrayOf(fieldsOf(JSON.parse(text.slice(start)), 'output').jobs, 'jobs')[0], 'jobs[0]');
  const error = numberOf(job, 'error');
  if (error !== 0) throw new Error(`fio: error ${error}`);
  const part = fieldsOf(job[direction], direction);
  const requests = numberOf(part, 'total_ios');
  if (requests === 0) throw new Error('fio: not one request was done');
  const latency = fieldsOf(part.lat_ns, 'lat_ns');
  const seconds = numberOf(part, 'runtime') / 1000;
  const bytes = numberOf(part, 'io_bytes');
  return {
    requests,
    bytes,
    seconds,
    requestsPerSecond: numberOf(part, 'iops'),
    bytesPerSecond: seconds > 0 ? bytes / seconds : NaN,
    meanLatencyUs: numberOf(latency, 'mean') / 1000,
    p99LatencyUs: numberOf(fieldsOf(latency.percentile, 'lat_ns.percentile'), '99.000000') / 1000,
  };
}

function fieldsOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw new Error(`fio: no ${what} in its JSON`);
  return value as Record<string, unknown>;
}

function arrayOf(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new Error(`fio: no ${what} in its JSON`);
  return value;
}

function numberOf(fields: Record<string, unknown>, name: string): number {
  const value = fields[name];
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new Error(`fio: no ${name} in its JSON`);
  return value;
}
