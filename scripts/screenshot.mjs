// Makes docs/monitor.svg, the screenshot of the monitor, from a real run: a cache on tmpfs in front of a file, mounted, under a load of fio, watched by
// `pcache monitor` in a tmux of its own.
//
//   node scripts/screenshot.mjs [--build dist] [--size 110x34] [--seconds 80] [--view 1] [--out docs/monitor.svg]
//
// Needs a build, /dev/fuse, /dev/shm, fio and tmux. Everything else it makes is gone at its end.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { svgOf } from './ansi-svg.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({
  options: {
    build: { type: 'string', default: 'dist' },
    size: { type: 'string', default: '110x34' },
    seconds: { type: 'string', default: '80' },
    view: { type: 'string', default: '1' },
    out: { type: 'string', default: 'docs/monitor.svg' },
  },
});
const [columns, rows] = values.size.split('x').map(Number);
const seconds = Number(values.seconds);
const main = resolve(root, values.build, 'bin/pcache.js');
if (!existsSync(main)) throw new Error(`${main}: build first`);

const MIB = 1 << 20;
const folder = mkdtempSync(join(tmpdir(), 'pcache-screenshot-'));
const memory = mkdtempSync('/dev/shm/pcache-screenshot-');
const mountpoint = join(folder, 'vol');
const env = { ...process.env, PCACHE_RUNTIME_DIR: join(folder, 'run'), TMUX_TMPDIR: folder, TMUX: '', LC_ALL: 'C.UTF-8', NO_COLOR: '' };
const run = (program, ...args) => execFileSync(program, args, { env, encoding: 'utf8', timeout: 60_000 });
const pcache = (...args) => run(process.execPath, main, ...args);
const tmux = (...args) => run('tmux', '-L', 'pcache-screenshot', ...args);
const jobs = [];

/** Reads that mostly hit after a while, and writes that come and go, with a flush now and then. */
function load() {
  const common = [
    `--filename=${join(mountpoint, 'volume.img')}`,
    '--time_based',
    `--runtime=${seconds + 20}`,
    '--ioengine=psync',
    '--thread',
  ];
  const jobsOf = [
    ['--name=reads', '--rw=randread', '--bs=4k', '--size=160M', '--rate_iops=1800', '--random_distribution=zipf:1.1'],
    [
      '--name=writes',
      '--rw=randwrite',
      '--bs=16k',
      '--offset=160M',
      '--size=500M',
      '--rate_iops=700',
      '--thinktime=7s',
      '--thinktime_blocks=7000',
    ],
    ['--name=database', '--rw=randwrite', '--bs=8k', '--offset=700M', '--size=96M', '--rate_iops=120', '--fdatasync=8'],
  ];
  for (const job of jobsOf) jobs.push(spawn('fio', [...job, ...common], { stdio: 'ignore' }));
}

try {
  mkdirSync(mountpoint);
  mkdirSync(env.PCACHE_RUNTIME_DIR, { mode: 0o700 });
  const backing = join(folder, 'slow.img');
  const cache = join(memory, 'cache.pmem');
  writeFileSync(backing, '');
  truncateSync(backing, 2048 * MIB);
  pcache('format', cache, '--size', '768M');
  pcache('mount', cache, backing, mountpoint);
  load();
  await delay(5000);
  tmux(
    '-f',
    '/dev/null',
    'new-session',
    '-d',
    '-x',
    String(columns),
    '-y',
    String(rows),
    `exec ${process.execPath} ${main} monitor ${mountpoint}`,
  );
  tmux('set', '-g', 'status', 'off');
  await delay(seconds * 1000);
  tmux('send-keys', values.view);
  await delay(2500);
  // The names of temporary files say nothing to anybody.
  const names = [
    [mountpoint, '/mnt/vol'],
    [backing, '/dev/sdb'],
  ];
  let text = tmux('capture-pane', '-e', '-p');
  for (const [long, short] of names)
    text = text
      .split('\n')
      .map((line) => renamed(line, long, short))
      .join('\n');
  const version = pcache('--version').trim();
  const picture = svgOf(text, { columns, rows }, `pcache ${version} - pcache monitor /mnt/vol`);
  // Both are read by a test, which knows by them of what version the picture is.
  const description = `pcache-gateway ${version}, view ${values.view} of a real run in a terminal of ${columns} x ${rows}, by scripts/screenshot.mjs`;
  writeFileSync(resolve(root, values.out), picture.replace('</title>', `</title>\n<desc>${description}</desc>`));
} finally {
  for (const job of jobs) job.kill('SIGKILL');
  await Promise.all(jobs.map((job) => job.exitCode ?? job.signalCode ?? new Promise((done) => job.once('exit', done))));
  try {
    tmux('kill-server');
  } catch {
    console.error('screenshot: there was no terminal to end');
  }
  if (existsSync(mountpoint)) pcache('umount', mountpoint);
  rmSync(folder, { recursive: true, force: true });
  rmSync(memory, { recursive: true, force: true });
}

/** The line with another name in place of `long`, which may be shortened in the middle, and as wide as before. */
function renamed(line, long, short) {
  const at = line.indexOf(long);
  return at < 0 ? line : padded(line, at, long, short);
}

function padded(line, at, long, short) {
  const rest = line.slice(at + long.length);
  const missing = ' '.repeat(long.length - short.length);
  // What follows at the right end of the line stays where it is.
  const gap = /^(.*?) {3,}/.exec(rest);
  return line.slice(0, at) + short + (gap === null ? rest : rest.slice(0, gap[0].length) + missing + rest.slice(gap[0].length));
}
