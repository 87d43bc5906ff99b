// What a mounted volume says of itself: over HTTP, in its files, to its command line; and that writing back can be paused without a promise being broken.

import { connect as connectTcp, createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import type { StatusSnapshot } from '../../src/gateway/status.js';
import { statusTable } from '../../src/cli/status-table.js';
import { ControlClient } from '../../src/gateway/control-client.js';
import type { FlushProgressLine } from '../../src/gateway/control-protocol.js';
import { runtimePaths } from '../../src/gateway/runtime-files.js';
import { pattern } from '../fuse/conformance.js';
import { freePort } from '../support/free-port.js';
import { parseMetrics } from '../support/metrics-text.js';
import { digestOf, waitUntil } from '../support/mounted-commands.js';
import { MIB, mountTest, mounted, type TestGateway } from '../support/mounted.js';
import { quietStatus } from '../support/quiet-status.js';
import { differences } from '../support/status-figures.js';

const O_RDWR = 2;
const VOLUME_BYTES = 32 * MIB;
const HOST = '127.0.0.1';
const PATIENCE_MS = 20_000;

/** The body of the answer to `GET /metrics`. Rejects if nobody answers. */
async function scrape(port: number): Promise<string> {
  const socket = connectTcp(port, HOST);
  socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error('no answer')));
  socket.end('GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  let text = '';
  for await (const chunk of socket) text += (chunk as Buffer).toString();
  const [head = '', body = ''] = text.split('\r\n\r\n');
  if (!head.startsWith('HTTP/1.1 200 ')) throw new Error(head);
  return body;
}

/** Writes, and waits for the write and a flush. */
async function write(gateway: TestGateway, offset: number, bytes: Buffer): Promise<void> {
  const user = gateway.client();
  const fd = await user.call('open', gateway.volume, O_RDWR);
  await user.call('write', fd, offset, bytes);
  await user.call('fsync', fd);
  await user.call('close', fd);
}

mountTest('every figure is the same in status, status --json, stats.json, metrics and the answer over HTTP', undefined, async (t) => {
  const port = await freePort(HOST);
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES, mountOptions: `metrics_listen=${HOST}:${port}` });
  const user = gateway.client();
  await write(gateway, 0, pattern(MIB, 1));
  await digestOf(gateway.volume, { direct: true });
  await gateway.ok('flush', gateway.mountpoint);
  const status = await quietStatus(gateway);
  const stats = JSON.parse((await user.call('readFile', join(gateway.mountpoint, 'stats.json'))).toString()) as StatusSnapshot;
  t.deepEqual(stats, status);
  const text = Buffer.from(await user.call('readFile', join(gateway.mountpoint, 'metrics'))).toString();
  t.is(await scrape(port), text);
  t.deepEqual(await gateway.status(), status);

  t.deepEqual(differences(status, parseMetrics(text).samples, Date.now()), []);
  t.like(status, { dirty_bytes: 0, writeback_pending_bytes: 0, dirty_since_ms: null, clean_in_s: null });
  t.true(status.writes > 0 && status.write_misses > 0 && status.flushes > 0 && status.read_bytes > 0);
  // The table has the same figures, and how long ago things were, in whole seconds.
  const startMs = Date.now();
  const table = await gateway.ok('status', gateway.mountpoint);
  const moments = Array.from({ length: Math.ceil((Date.now() - startMs) / 100) + 1 }, (_, at) => startMs + at * 100);
  t.true(
    moments.some((nowMs) => statusTable(status, nowMs).join('\n') === table),
    `${table}\nis not\n${statusTable(status).join('\n')}`,
  );
  // Requests were timed: reads from the backing device and flushes one by one, on whatever thread.
  t.is(status.latency.flush.count, status.flushes);
  t.true(status.ksets_closed > 0);
  t.true(status.latency.read.count > 0 && status.latency.read.sum_us > 0);
  t.true(status.latency.write.count > 0 && status.latency.write.sum_us > 0);
});

mountTest('metrics over HTTP are there again after the engine was killed, and gone with the mount', undefined, async (t) => {
  const port = await freePort(HOST);
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES, mountOptions: `metrics_listen=${HOST}:${port}` });
  t.is(parseMetrics(await scrape(port)).samples.get('pcache_engine_restarts_total'), 0);
  process.kill(gateway.pids.engine, 'SIGKILL');
  const restarts = (): Promise<number | undefined> =>
    scrape(port).then(
      (text) => parseMetrics(text).samples.get('pcache_engine_restarts_total'),
      () => undefined,
    );
  await waitUntil(async () => (await restarts()) === 1, 'the next engine serves the metrics');
  await gateway.umount();
  t.is(await restarts(), undefined);
});

mountTest(
  'a mount whose metrics can not be served where they should be fails with the reason, and leaves nothing',
  undefined,
  async (t) => {
    const other = createServer().listen(0, HOST);
    await once(other, 'listening');
    t.teardown(() => other.close());
    const { port } = other.address() as AddressInfo;
    const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
    await gateway.umount();
    const [command = '', ...rest] = gateway.mountArguments;
    const refused = await gateway.pcache(command, ...rest, '--metrics-listen', `${HOST}:${port}`);
    t.is(refused.status, 1);
    t.regex(refused.stderr, new RegExp(`^pcache: metrics: ${HOST}:${port}: another program listens there$`, 'm'));
    t.false(gateway.isMounted);
    for (const bad of [`${HOST}:0`, '9464', '[::1]'])
      t.is((await gateway.pcache(command, ...rest, '--metrics-listen', bad)).status, 2, bad);
    await gateway.mount();
    t.is((await gateway.status()).state, 'serving');
  },
);

mountTest(
  'paused writeback writes nothing back until a flush asks for it, and tells how long something has been dirty',
  undefined,
  async (t) => {
    const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
    const pause = JSON.parse(await gateway.ok('--json', 'message', gateway.mountpoint, 'writeback', 'pause')) as Record<string, unknown>;
    t.true(pause.writeback_paused);
    const beforeMs = Date.now();
    await write(gateway, 0, pattern(MIB, 1));
    const afterMs = Date.now();
    await waitUntil(async () => (await gateway.status()).writeback_bytes_per_s === 0, 'nothing is under way');
    await write(gateway, 4 * MIB, pattern(MIB, 2));
    const status = await gateway.status();
    t.true(status.dirty_bytes >= 2 * MIB);
    t.like(status, { writeback_bytes: 0, writeback_paused: true, clean_in_s: null });
    // The log worker looks four times a second; a first key is seen to the millisecond.
    t.true(
      status.dirty_since_ms! >= beforeMs - 1000 && status.dirty_since_ms! <= afterMs,
      `${status.dirty_since_ms} in ${beforeMs} to ${afterMs}`,
    );
    t.regex(await gateway.ok('status', gateway.mountpoint), /^writeback +paused; 0 B written/m);
    await gateway.ok('flush', gateway.mountpoint);
    t.like(await gateway.status(), { dirty_bytes: 0, dirty_since_ms: null, writeback_paused: true });
    await write(gateway, 0, pattern(MIB, 3));
    t.true((await gateway.status()).dirty_bytes >= MIB);
    await gateway.ok('message', gateway.mountpoint, 'writeback', 'resume');
    await waitUntil(async () => (await gateway.status()).dirty_bytes === 0, 'what is dirty is written back');
    t.false((await gateway.status()).writeback_paused);
  },
);

mountTest('what is written over again and again is dirty once, and a hit each time', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: 8 * MIB });
  await gateway.ok('message', gateway.mountpoint, 'writeback', 'pause');
  const rounds = 16;
  for (let round = 0; round < rounds; round++) await write(gateway, 0, pattern(MIB, round));
  const status = await gateway.status();
  t.is(status.dirty_bytes, MIB);
  // More than the volume has. The kernel may write a page twice.
  t.true(status.writeback_pending_bytes >= rounds * MIB);
  t.true(status.write_hits >= rounds - 1 && status.write_misses > 0, `${status.write_hits} hits, ${status.write_misses} misses`);
  t.regex(
    await gateway.ok('status', gateway.mountpoint),
    /^dirty +1 MiB not on the backing device yet \(16(?:\.\d)? MiB of writes to write back\)/m,
  );
  await gateway.umount();
  t.like(JSON.parse(await gateway.ok('--json', 'status', gateway.cache)), {
    dirty_bytes: MIB,
    writeback_pending_bytes: status.writeback_pending_bytes,
  });
  // A pause ends with its mount: from here on the gateway writes back by itself, however soon.
  await gateway.mount();
  t.true((await gateway.status()).dirty_bytes <= MIB);
  await gateway.ok('flush', gateway.mountpoint);
  t.like(await gateway.status(), { dirty_bytes: 0, writeback_pending_bytes: 0 });
  await gateway.ok('message', gateway.mountpoint, 'writeback', 'pause');
  for (let round = 0; round < 2; round++) await write(gateway, 0, pattern(MIB, round));
  // The writes are the work, and what they are about is what is told.
  t.like(JSON.parse(await gateway.ok('--json', 'flush', gateway.mountpoint)), { flushed_bytes: MIB });
  t.like(await gateway.status(), { dirty_bytes: 0, writeback_pending_bytes: 0 });
});

mountTest('a flush tells its own work, which only shrinks, whatever is written meanwhile', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  await gateway.ok('message', gateway.mountpoint, 'writeback', 'pause');
  for (let round = 0; round < 4; round++) await write(gateway, 0, pattern(4 * MIB, round));
  const { writeback_pending_bytes: pendingBytes } = await gateway.status();
  const control = await ControlClient.connect(runtimePaths(gateway.mountpoint, gateway.runtimeDirectory).socket);
  const told: FlushProgressLine[] = [];
  try {
    const flushed = control.request({ op: 'flush' }, { onProgress: (line) => told.push(line) });
    for (let round = 0; round < 8; round++) await write(gateway, 8 * MIB, pattern(MIB, round));
    await flushed;
  } finally {
    control.close();
  }
  t.deepEqual([...new Set(told.map((line) => line.bytes_total))], [pendingBytes]);
  const left = told.map((line) => line.bytes_left);
  t.is(left[0], pendingBytes);
  t.deepEqual(
    left,
    left.toSorted((a, b) => b - a),
  );
  // That nothing is left is told by the answer, if it comes soon.
  t.true(left.slice(0, -1).every((bytes) => bytes > 0));
});

mountTest('umount --flush writes back although it is paused', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  await gateway.ok('message', gateway.mountpoint, 'writeback', 'pause');
  await write(gateway, 0, pattern(2 * MIB, 1));
  const digest = await digestOf(gateway.volume, { direct: true });
  const said = JSON.parse(await gateway.ok('--json', 'umount', gateway.mountpoint, '--flush')) as Record<string, unknown>;
  t.is(said.dirty_bytes, 0);
  t.is(await digestOf(gateway.backing), digest);
});

mountTest('writers into a full cache get room although writing back is paused', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: 256 * MIB });
  await gateway.ok('message', gateway.mountpoint, 'writeback', 'pause');
  const user = gateway.client();
  const fd = await user.call('open', gateway.volume, O_RDWR);
  // Twice as much as the cache holds.
  for (let at = 0; at < 192; at++) await user.call('write', fd, at * MIB, pattern(MIB, at));
  await user.call('close', fd);
  const status = await gateway.status();
  t.true(status.writeback_paused);
  t.true(status.writeback_bytes > 64 * MIB && status.cache_full_waits > 0);
  t.true(status.dirty_bytes > 0);
  // Once nobody waits, it stands still again.
  await waitUntil(async () => (await gateway.status()).writeback_bytes_per_s === 0, 'writing back stands still');
  t.true((await gateway.status()).dirty_bytes > 0);
});

mountTest('a pause, and the age of dirty data, outlive the engine', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  const mountedMs = Date.now();
  await gateway.ok('message', gateway.mountpoint, 'writeback', 'pause');
  await write(gateway, 0, pattern(MIB, 1));
  // As long as a change may take to be told.
  await waitUntil(async () => Date.now() - ((await gateway.status()).dirty_since_ms ?? Date.now()) > 2500, 'dirty data has an age');
  const before = await gateway.status();
  process.kill(gateway.pids.engine, 'SIGKILL');
  await waitUntil(
    async () => (await gateway.pcache('status', gateway.mountpoint)).status === 0 && (await gateway.status()).engine_restarts === 1,
    'another engine',
  );
  const after = await gateway.status();
  t.true(after.writeback_paused);
  t.true(after.dirty_bytes >= MIB);
  t.is(after.dirty_since_ms, before.dirty_since_ms);
  t.true(after.dirty_since_ms! >= mountedMs - 1000);
});
