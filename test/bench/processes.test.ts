import { spawn } from 'node:child_process';
import { once } from 'node:events';
import test from 'ava';
import { cpuSecondsOf, isAlive, killNow, parseCpuSeconds, processesWith } from '../../bench/processes.js';

test('processor time is user and system, of the process and of children that have ended', (t) => {
  const stat = '42 (a name) with ) S) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 20 5 20 0 3 0 12345 1000000 200 18446744073709551615';
  t.is(parseCpuSeconds(stat), 2.25);
  t.is(parseCpuSeconds(''), 0);
});

test('a process that is not there has used nothing and is not alive', (t) => {
  const none = 2 ** 22 + 1;
  t.is(cpuSecondsOf([none]), 0);
  t.false(isAlive(none));
  t.true(isAlive(process.pid));
  t.true(cpuSecondsOf([process.pid]) > 0);
});

test('processes are found by the start of a variable in their environment', async (t) => {
  const mark = `PCACHE_BENCH_TEST=${process.pid}-${Date.now()}`;
  t.deepEqual(processesWith(mark), []);
  const [name, value] = mark.split('=') as [string, string];
  const child = spawn('sleep', ['60'], { env: { ...process.env, [name]: `${value}/more` } });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child, 'spawn');
  t.deepEqual(processesWith(mark), [child.pid!]);
  killNow(child.pid!);
  await once(child, 'exit');
  t.deepEqual(processesWith(mark), []);
  t.notThrows(() => killNow(child.pid!));
});
