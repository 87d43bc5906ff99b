// The monitor on a real terminal (tmux), of real mounts.

import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Client } from '../fuse/client.js';
import { runPcache } from '../gateway/fake-gateway.js';
import { USER, mountedAsUser, whyNoOtherUser } from '../support/mounted-as-user.js';
import { lacking, waitUntil } from '../support/mounted-commands.js';
import { MIB, PCACHE, killIfAlive, mountTest, mounted, type TestGateway } from '../support/mounted.js';
import { temporaryFolder } from '../support/tmp.js';
import { Tmux, type TerminalState } from './tmux.js';

const O_RDWR = 2;
const ESC = '\u001b';
const lacks = lacking('tmux', 'stty', 'sh');

interface Watched {
  readonly gateway: TestGateway;
  readonly tmux: Tmux;
  readonly before: TerminalState;
}

interface WatchOptions {
  readonly columns?: number;
  readonly rows?: number;
  /** Variables in front of the command. */
  readonly env?: string;
  readonly showing?: RegExp;
  readonly dataCrc?: boolean;
}

/** A mounted volume, and the monitor of it on a terminal. */
async function watched(
  t: ExecutionContext,
  { columns = 80, rows = 24, env = '', showing = /serving .* up/, dataCrc = false }: WatchOptions = {},
): Promise<Watched> {
  const gateway = await mounted(t, { volumeBytes: 64 * MIB, dataCrc });
  const tmux = new Tmux(t, { columns, rows });
  const before = await tmux.state('before');
  const command = `${env} PCACHE_RUNTIME_DIR=${gateway.runtimeDirectory} exec ${process.execPath} ${PCACHE} monitor ${gateway.mountpoint}`;
  writeFileSync(join(tmux.folder, 'monitor.sh'), `echo $$ >'${tmux.folder}/pid'\n${command}\n`);
  tmux.run(`sh '${tmux.folder}/monitor.sh'`);
  await tmux.shows(showing);
  return { gateway, tmux, before };
}

/** The monitor has ended with this status, the terminal is as it was, and nothing of the monitor is left on it. */
async function endedWith(t: ExecutionContext, { tmux, before }: Watched, status: number, said?: RegExp): Promise<void> {
  t.is(await tmux.ended(), status);
  const screen = tmux.screen();
  t.notRegex(screen, /SAFETY|READS|SEGMENTS|quit/);
  if (said !== undefined) t.regex(screen.replaceAll('\n', ''), said);
  t.deepEqual(await tmux.state('after'), before);
}

/** Writes to the volume, so that so many bytes are dirty until they are written back. */
async function write(client: Client, gateway: TestGateway, bytes: number): Promise<void> {
  const fd = await client.call('open', gateway.volume, O_RDWR);
  await client.call('write', fd, 0, Buffer.alloc(bytes, 7));
  await client.call('close', fd);
}

function pidOf({ tmux }: Watched): number {
  return Number(readFileSync(join(tmux.folder, 'pid'), 'utf8'));
}

mountTest('every key does what it says, and q leaves the terminal as it was', lacks, async (t) => {
  const watching = await watched(t);
  const { gateway, tmux } = watching;
  t.regex(await tmux.shows(/All data is on the backing device/), /SAFETY[^]*CACHE[^]*LOG/);
  tmux.keys('2');
  await tmux.shows(/READS[^]*WRITES[^]*FLUSHES/);
  tmux.keys('3');
  await tmux.shows(/SEGMENTS[^]*BACKGROUND/);
  tmux.keys('Tab');
  await tmux.shows(/SAFETY/);
  tmux.keys('?');
  await tmux.shows(/KEYS[^]*WORDS/);
  tmux.keys('Escape');
  await tmux.shows(/SAFETY/);

  tmux.keys('p');
  await tmux.shows(/Writeback is paused/);
  t.true((await gateway.status()).writeback_paused);
  await write(gateway.client(), gateway, 3 * MIB);
  await tmux.shows(/3\.00 MiB are only in the cache[^]*clean +paused/);
  tmux.keys('f');
  await tmux.shows(/Flushed: 3\.00 MiB written back/);
  await tmux.shows(/All data is on the backing device/);
  t.is((await gateway.status()).dirty_bytes, 0);
  tmux.keys('p');
  await tmux.shows(/Writeback goes on/);
  t.false((await gateway.status()).writeback_paused);

  tmux.keys('g');
  await tmux.shows(/gc_percent, 0 to 90, now 70: _/);
  tmux.keys('4', '5', 'Enter');
  await tmux.shows(/gc_percent is 45/);
  await tmux.shows(/gc above 45 %/);
  t.is((await gateway.status()).gc_percent, 45);

  tmux.keys('q');
  await endedWith(t, watching, 0);
});

mountTest('larger terminals show more, and a terminal that changes its size is drawn again', lacks, async (t) => {
  const watching = await watched(t, { columns: 120, rows: 40 });
  const { tmux } = watching;
  const lines = (): string[] => tmux.screen().replace(/\n$/, '').split('\n');
  await tmux.shows(/\? help {2}q quit\s*$/);
  t.is(lines().length, 40);
  for (const [columns, rows] of [
    [80, 24],
    [200, 60],
    [50, 12],
    [80, 24],
  ] as const) {
    tmux.resize(columns, rows);
    await waitUntil(
      () => lines()[rows - 1]?.endsWith('quit') === true && lines()[1]?.startsWith(' \u25cf All data') === true,
      `${columns} x ${rows} is drawn`,
    );
    t.true(lines().every((line) => line.length <= columns));
    t.is(lines().length, rows);
  }
  tmux.resize(40, 10);
  const small = await tmux.shows(/40 x 10 is too small/);
  t.regex(small, /All data is on the backing\s+device/);
  t.notRegex(small, /SAFETY/);
  tmux.resize(80, 24);
  await tmux.shows(/SAFETY/);
  tmux.keys('C-c');
  await endedWith(t, watching, 0);
});

mountTest('a segment with damaged data is an x in the map, until its data is rewritten', lacks, async (t) => {
  const watching = await watched(t, { dataCrc: true });
  const { gateway, tmux } = watching;
  tmux.keys('3');
  await tmux.shows(/live data {2}x damaged/);
  tmux.keys('p');
  await tmux.shows(/Writeback is paused/);
  await write(gateway.client(), gateway, MIB);
  await waitUntil(async () => (await gateway.status()).dirty_bytes === MIB, 'it is in the cache');
  const map = /SEGMENTS[^\n]*\n([^]*)\n[^\n]*free/;
  const cells = async (): Promise<string> => map.exec(await tmux.shows(map))![1]!;
  t.notRegex(await cells(), /x/);
  // The cache is a file that the gateway has mapped.
  const content = readFileSync(gateway.cache);
  const at = content.indexOf(Buffer.alloc(4096, 7));
  t.true(at > 0);
  const fd = openSync(gateway.cache, 'r+');
  writeSync(fd, Buffer.from([8]), 0, 1, at);
  closeSync(fd);
  tmux.keys('p');
  await waitUntil(async () => (await gateway.status()).corrupt_keys === 1, 'the damage is found');
  await waitUntil(async () => (await cells()).includes('x'), 'the map shows it');
  tmux.keys('1');
  await tmux.shows(/Damaged data in the cache \(1 key\)/);
  await write(gateway.client(), gateway, MIB);
  tmux.keys('3');
  await waitUntil(async () => !(await cells()).includes('x'), 'the map shows that it is gone');
  tmux.keys('q');
  await endedWith(t, watching, 0);
});

mountTest('a user who is not root watches a volume of their own', lacks ?? whyNoOtherUser(), async (t) => {
  const { gateway, prefix } = await mountedAsUser(t);
  const tmux = new Tmux(t, { columns: 80, rows: 24 });
  const before = await tmux.state('before');
  const environment = `TERM=tmux-256color LC_ALL=C.UTF-8 PCACHE_RUNTIME_DIR=${gateway.runtimeDirectory}`;
  tmux.run(`${prefix.join(' ')} env ${environment} ${process.execPath} ${PCACHE} monitor ${gateway.mountpoint}`);
  await tmux.shows(/serving .* up[^]*SAFETY/);
  tmux.keys('p');
  await tmux.shows(/Writeback is paused/);
  tmux.keys('q');
  await endedWith(t, { gateway, tmux, before }, 0);
});

mountTest('a user who is not root is told that a volume is not theirs', lacks ?? whyNoOtherUser(), async (t) => {
  const gateway = await mounted(t, { volumeBytes: 64 * MIB });
  const tmux = new Tmux(t, { columns: 80, rows: 24 });
  const before = await tmux.state('before');
  tmux.run(`runuser -u ${USER} -- env -u PCACHE_RUNTIME_DIR ${process.execPath} ${PCACHE} monitor ${gateway.mountpoint}`);
  await endedWith(t, { gateway, tmux, before }, 1, /mnt: mounted by another user \(uid 0\)/);
});

mountTest('with NO_COLOR nothing is coloured, and without UTF-8 all is ASCII', lacks, async (t) => {
  const watching = await watched(t, { env: 'NO_COLOR=1 LC_ALL=C', showing: /serving, up/ });
  const { tmux } = watching;
  await tmux.shows(/\* All data/);
  for (const view of ['1', '2', '3', '?']) {
    tmux.keys(view);
    await tmux.shows(view === '?' ? /KEYS/ : [/SAFETY/, /READS/, /SEGMENTS/][Number(view) - 1]!);
    const coloured = tmux.screen(true);
    // Bold and inverse remain.
    t.notRegex(coloured, new RegExp(`${ESC}\\[(?:[\\d;]*;)?(?:3[0-8]|4[0-8]|9\\d|10\\d)(?:;[\\d;]*)?m`));
    t.regex(coloured, new RegExp(`${ESC}\\[(?:0;)?1m`));
    t.regex(tmux.screen(), /^[\n\u0020-\u007e]*$/);
  }
  tmux.keys('q');
  await endedWith(t, watching, 0);
});

/** What each kind of terminal gets: how many colours, and whether its characters are more than ASCII. */
const terminals: readonly (readonly [term: string, colours: 0 | 16 | 256, unicode: boolean])[] = [
  ['xterm-kitty', 256, true],
  ['screen-256color', 256, true],
  ['xterm', 16, true],
  ['linux', 16, false],
  ['xterm-mono', 0, true],
  ['vt100', 0, true],
  ['no-such-terminal', 16, true],
];
for (const [term, colours, unicode] of terminals) {
  mountTest(`TERM=${term} is drawn on, with ${colours} colours, and nothing is printed besides`, lacks, async (t) => {
    const watching = await watched(t, { env: `TERM=${term}`, showing: /serving.* up/ });
    const screen = await watching.tmux.shows(/SAFETY[^]*LOG[^]*quit/);
    t.is(/[^\n\u0020-\u007e]/.test(screen), unicode);
    const coloured = watching.tmux.screen(true);
    t.is(new RegExp(`${ESC}\\[(?:[\\d;]*;)?38;5;\\d+(?:;[\\d;]*)?m`).test(coloured), colours === 256);
    t.is(new RegExp(`${ESC}\\[(?:[\\d;]*;)?3[0-7](?:;[\\d;]*)?m`).test(coloured), colours === 16);
    watching.tmux.keys('q');
    await endedWith(t, watching, 0);
    t.notRegex(watching.tmux.screen(), /Error/);
  });
}

mountTest('with TERM=dumb a line now and then takes the place of the screen', lacks, async (t) => {
  const watching = await watched(t, { env: 'TERM=dumb', showing: /serving: All data is on the backing device/ });
  t.notRegex(watching.tmux.screen(), /SAFETY/);
  watching.tmux.keys('C-c');
  await endedWith(t, watching, 0);
});

mountTest('an engine that dies is replaced before the eyes of the user, and the figures go on', lacks, async (t) => {
  const watching = await watched(t);
  const { gateway, tmux } = watching;
  const engine = gateway.enginePid;
  process.kill(engine, 'SIGKILL');
  await tmux.shows(/the engine died and was replaced/);
  await tmux.shows(/serving .* 1x restarted/);
  t.not(gateway.enginePid, engine);
  await write(gateway.client(), gateway, MIB);
  tmux.keys('f');
  await tmux.shows(/Flushed/);
  tmux.keys('q');
  await endedWith(t, watching, 0);
});

mountTest('an umount ends the monitor with a line that says so', lacks, async (t) => {
  const watching = await watched(t);
  const { gateway } = watching;
  await gateway.ok('umount', gateway.mountpoint);
  await endedWith(t, watching, 0, /mnt: unmounted; everything is on /);
});

mountTest('the death of the supervisor ends the monitor with its reason', lacks, async (t) => {
  const watching = await watched(t);
  process.kill(watching.gateway.pids.supervisor, 'SIGKILL');
  await endedWith(t, watching, 1, /pcache: .*mnt: its gateway ended: /);
});

mountTest('the death of everything is told with what to do about it, and ends the monitor', lacks, async (t) => {
  const watching = await watched(t);
  const { gateway, tmux } = watching;
  // The supervisor would replace an engine that dies first.
  process.kill(gateway.pids.supervisor, 'SIGSTOP');
  process.kill(gateway.enginePid, 'SIGKILL');
  process.kill(gateway.pids.supervisor, 'SIGKILL');
  await tmux.shows(/The gateway is dead: pcache umount/);
  await endedWith(t, watching, 1, /its gateway ended: .*hint: pcache umount .*mnt takes the dead mount away; *then mount it again\./);
});

for (const [signal, status] of [
  ['SIGINT', 0],
  ['SIGTERM', 128 + 15],
  ['SIGHUP', 128 + 1],
  ['SIGQUIT', 128 + 3],
] as const) {
  mountTest(`${signal} ends the monitor as it should, and the terminal is as it was`, lacks, async (t) => {
    const watching = await watched(t);
    process.kill(pidOf(watching), signal);
    await endedWith(t, watching, status);
  });
}

mountTest('a bug in the monitor leaves the terminal as it was, and says what it is', lacks, async (t) => {
  const bug = 'data:text/javascript,setTimeout(()=>{throw%20new%20Error(%22planted%22)},2500)';
  const watching = await watched(t, { env: `NODE_OPTIONS='--import=${bug}'` });
  await endedWith(t, watching, 1, /pcache: planted/);
});

mountTest('Ctrl-Z gives the terminal back until the monitor is continued', lacks, async (t) => {
  const watching = await watched(t);
  const { tmux } = watching;
  const pid = pidOf(watching);
  const stateOf = (): string => execFileSync('ps', ['-o', 'state=', '-p', String(pid)], { encoding: 'utf8' }).trim();
  tmux.keys('C-z');
  await waitUntil(() => stateOf() === 'T', 'the monitor stops');
  t.notRegex(tmux.screen(), /SAFETY/);
  tmux.keys('-l', 'fg');
  tmux.keys('Enter');
  await tmux.shows(/SAFETY/);
  tmux.keys('q');
  await waitUntil(() => !/SAFETY/.test(tmux.screen()), 'the monitor ends');
  t.deepEqual(await tmux.state('after'), watching.before);
});

mountTest('a terminal that goes away takes the monitor with it', lacks, async (t) => {
  const watching = await watched(t);
  const { tmux, gateway } = watching;
  const pid = pidOf(watching);
  tmux.close();
  await waitUntil(() => !gateway.processes().includes(pid), 'the monitor ends');
  killIfAlive(pid);
  t.is((await gateway.status()).state, 'serving');
});

test('without a terminal the monitor says what to use instead, with status 2', async (t) => {
  const env = { PCACHE_RUNTIME_DIR: join(temporaryFolder(t), 'run') };
  const hint = 'pcache status /mnt/vol --json prints the same figures once.';
  const plain = await runPcache(['monitor', '/mnt/vol'], env);
  t.deepEqual([plain.status, plain.stdout], [2, '']);
  t.regex(plain.stderr, /^pcache: monitor: [^\n]+\nhint: [^\n]+\n$/);
  t.true(plain.stderr.endsWith(`\nhint: ${hint}\n`));
  const json = await runPcache(['monitor', '/mnt/vol', '--json'], env);
  t.deepEqual([json.status, json.stdout], [2, '']);
  t.like(JSON.parse(json.stderr), { error: { code: 'usage', hint } });
});
