import { spawnSync } from 'node:child_process';
import test from 'ava';
import { oomScoreAdj } from '../../src/device/memory-protection.js';

// In a process of its own, for it can't be undone; it answers with what worked and what the kernel then says.
const script = `
  const protection = await import(process.argv[1]);
  const libc = await import(process.argv[2]);
  const fs = await import('node:fs');
  const locked = () => Number(/^VmLck:\\s*(\\d+)/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]);
  const ioFlusher = protection.ioFlusher();
  const address = libc.mmap(65536, 3, 0x22, -1, 0);
  const lockRange = protection.lockRange(address, 65536);
  new Uint8Array(libc.view(address, 65536)).fill(1);
  const oomScoreAdj = protection.oomScoreAdj(500);
  console.log(JSON.stringify({
    ioFlusher, lockRange, oomScoreAdj,
    isIoFlusher: ioFlusher && libc.prctl(58, 0) === 1,
    isLocked: locked() >= 64,
    score: fs.readFileSync('/proc/self/oom_score_adj', 'utf8').trim(),
  }));`;

test('each protection says truly whether it is in force', (t) => {
  const modules = ['memory-protection', 'libc'].map((name) => new URL(`../../src/device/${name}.js`, import.meta.url).href);
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', script, ...modules], { encoding: 'utf8', timeout: 30_000 });
  t.is(child.status, 0, child.stderr);
  const report = JSON.parse(child.stdout) as Record<string, unknown>;
  t.log(child.stdout.trim());
  t.is(report.isIoFlusher, report.ioFlusher);
  t.is(report.isLocked, report.lockRange);
  t.is(report.oomScoreAdj, true, 'anyone may offer itself to be killed first');
  t.is(report.score, '500');
});

test('a score that the kernel does not know is refused', (t) => {
  t.throws(() => oomScoreAdj(2000), { instanceOf: RangeError });
});
