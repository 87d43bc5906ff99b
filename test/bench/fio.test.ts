import test from 'ava';
import { WORKING_SET_BYTES, fioArguments, gridTests, parseFio } from '../../bench/fio.js';

/** What fio 3.33 prints, with `--group_reporting` one job, cut down to what is read and some of what is not. */
function fioOutput(job: Record<string, unknown> = {}, before = ''): string {
  const latency = { min: 9000, max: 90000, mean: 12500.5, stddev: 1, N: 40000, percentile: { '95.000000': 20000, '99.000000': 33024 } };
  const none = { min: 0, max: 0, mean: 0, stddev: 0, N: 0 };
  return `${before}${JSON.stringify({
    'fio version': 'fio-3.33',
    jobs: [
      {
        jobname: 'bench',
        error: 0,
        read: { io_bytes: 163840000, bw: 160000, iops: 80000.25, runtime: 500, total_ios: 40000, lat_ns: latency },
        write: { io_bytes: 0, iops: 0, runtime: 0, total_ios: 0, lat_ns: none },
        ...job,
      },
    ],
  })}`;
}

test("fio's figures come out in microseconds, seconds and bytes", (t) => {
  t.deepEqual(parseFio(fioOutput(), 'read'), {
    requests: 40000,
    bytes: 163840000,
    seconds: 0.5,
    requestsPerSecond: 80000.25,
    bytesPerSecond: 327680000,
    meanLatencyUs: 12.5005,
    p99LatencyUs: 33.024,
  });
});

test('notes that fio prints before its JSON do not matter', (t) => {
  t.is(parseFio(fioOutput({}, 'note: both iodepth >= 1 and synchronous I/O engine are selected\n'), 'read').requests, 40000);
});

test('an error of fio is an error, not a figure', (t) => {
  t.throws(() => parseFio(fioOutput({ error: 5 }), 'read'), { message: 'fio: error 5' });
});

test('a direction without a request has no figures', (t) => {
  t.throws(() => parseFio(fioOutput(), 'write'), { message: 'fio: not one request was done' });
});

test('output that is not what it should be is named for what it lacks', (t) => {
  t.throws(() => parseFio('fio: failed to open\n', 'read'), { message: 'fio: no JSON in what it printed: fio: failed to open' });
  t.throws(() => parseFio('{}', 'read'), { message: 'fio: no jobs in its JSON' });
  t.throws(() => parseFio('{"jobs":[]}', 'read'), { message: 'fio: no jobs[0] in its JSON' });
  t.throws(() => parseFio(fioOutput({ read: { total_ios: 1, lat_ns: { mean: 1 }, runtime: 1, io_bytes: 1, iops: 1 } }), 'read'), {
    message: 'fio: no lat_ns.percentile in its JSON',
  });
  t.throws(() => parseFio(fioOutput({ read: { total_ios: 'many' } }), 'read'), { message: 'fio: no total_ios in its JSON' });
});

test('a job ends after its time, or after its share of the bytes in whole blocks', (t) => {
  const job = { rw: 'randwrite', blockBytes: 4096, depth: 16, jobs: 4 } as const;
  const timed = fioArguments('/f', { ...job, seconds: 0.3 });
  t.true(timed.includes('--runtime=300ms'));
  t.true(timed.includes(`--io_size=${2 ** 48}`));
  const bounded = fioArguments('/f', { ...job, seconds: 0.3, bytesMax: 1_000_000 });
  t.true(bounded.includes(`--io_size=${Math.floor(250_000 / 4096) * 4096}`));
  const once = fioArguments('/f', { ...job, jobs: 1 });
  t.false(once.some((argument) => argument.startsWith('--runtime')));
  t.true(once.includes(`--io_size=${WORKING_SET_BYTES}`));
});

test('requests one by one are plain calls, several at a time go through libaio, and all are direct', (t) => {
  for (const each of gridTests) {
    const args = fioArguments('/f', { ...each, seconds: 1 });
    t.true(args.includes(`--ioengine=${each.depth === 1 ? 'psync' : 'libaio'}`), each.id);
    t.true(args.includes('--direct=1'), each.id);
  }
});

test('tests have names of their own, and the quick ones are some of them', (t) => {
  t.is(new Set(gridTests.map(({ id }) => id)).size, gridTests.length);
  const quick = gridTests.filter(({ isQuick }) => isQuick).length;
  t.true(quick > 0 && quick < gridTests.length);
});
