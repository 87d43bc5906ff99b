import { existsSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { PcacheError } from '../../src/errors.js';
import { ControlClient } from '../../src/gateway/control-client.js';
import { ControlServer, type ControlHandler } from '../../src/gateway/control-server.js';
import { createLog } from '../../src/gateway/log.js';
import { temporaryFolder } from '../support/tmp.js';
import { sampleStatus } from './sample-status.js';

const log = createLog({ name: 'test', level: 'silent', format: 'json' });

function handler(changes: Partial<ControlHandler> = {}): ControlHandler {
  return {
    status: () => sampleStatus(),
    dmStatus: () => 'line',
    flush: () => Promise.resolve(),
    setGcPercent: () => undefined,
    setWritebackPaused: () => undefined,
    segments: (cells) => ({ seg_total: 2, segments_per_cell: 2, cells: 'L'.repeat(cells), key_tail: 0, dirty_tail: 0, key_head: 1 }),
    users: () => ['fio (12)'],
    ...changes,
  };
}

async function serve(t: ExecutionContext, changes: Partial<ControlHandler> = {}): Promise<{ path: string; server: ControlServer }> {
  const path = join(temporaryFolder(t), 'x.sock');
  const server = await ControlServer.start(path, handler(changes), log);
  t.teardown(() => server.end(new PcacheError('closed', 'test over')));
  return { path, server };
}

/** What a peer that sends `bytes` gets until it is disconnected. */
function sendRaw(path: string, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(path, () => socket.write(bytes));
    socket.setTimeout(10_000, () => reject(new Error('not disconnected')));
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('error', reject);
    socket.on('close', () => {
      socket.setTimeout(0);
      resolve(text);
    });
  });
}

test('every operation is answered', async (t) => {
  let percent = -1;
  const orders: boolean[] = [];
  const { path } = await serve(t, { setGcPercent: (value) => (percent = value), setWritebackPaused: (isPaused) => orders.push(isPaused) });
  t.is(statSync(path).mode & 0o777, 0o600);
  const client = await ControlClient.connect(path);
  t.deepEqual(await client.request({ op: 'ping' }), { pid: process.pid });
  t.deepEqual(await client.request({ op: 'status' }), sampleStatus());
  t.is(await client.request({ op: 'dm_status' }), 'line');
  t.deepEqual(await client.request({ op: 'unmount_check' }), { users: ['fio (12)'] });
  t.is(await client.request({ op: 'message', gc_percent: 33 }), null);
  t.is(percent, 33);
  t.is(await client.request({ op: 'message', writeback: 'pause' }), null);
  t.is(await client.request({ op: 'message', writeback: 'resume' }), null);
  t.deepEqual(orders, [true, false]);
  t.like(await client.request({ op: 'segments', cells: 7 }), { seg_total: 2, cells: 'LLLLLLL' });
  client.close();
});

test('a flush tells its progress and does not hold up other requests', async (t) => {
  let finish: () => void = () => undefined;
  const { path } = await serve(t, {
    flush: (onProgress) => {
      onProgress({ bytes_total: 100, bytes_left: 60 });
      return new Promise((resolve) => (finish = resolve));
    },
  });
  const client = await ControlClient.connect(path);
  const seen: number[] = [];
  const flushed = client.request({ op: 'flush' }, { onProgress: (progress) => seen.push(progress.bytes_left) });
  await client.request({ op: 'ping' });
  t.deepEqual(seen, [60]);
  finish();
  t.is(await flushed, null);
  client.close();
});

test('an error of the gateway arrives with code and hint, and the connection stays good', async (t) => {
  const { path } = await serve(t, { flush: () => Promise.reject(new PcacheError('io', 'backing: EIO', { hint: 'Look.' })) });
  const client = await ControlClient.connect(path);
  await t.throwsAsync(client.request({ op: 'flush' }), { instanceOf: PcacheError, code: 'io', message: 'backing: EIO' });
  t.deepEqual(await client.request({ op: 'ping' }), { pid: process.pid });
  client.close();
});

test('garbage and lines without end get one error line and are disconnected', async (t) => {
  const { path } = await serve(t);
  for (const bytes of ['garbage\n', '{"id":1}\n', '\n', 'x'.repeat(70_000), '\u0000\u0001\n{"id":1,"op":"ping"}\n']) {
    const text = await sendRaw(path, bytes);
    t.is(text.split('\n').length, 2, text);
    t.regex(text, /^\{"id":null,"ok":false,"error":\{"code":"usage","message":"control message: /);
  }
  const client = await ControlClient.connect(path);
  t.deepEqual(await client.request({ op: 'ping' }), { pid: process.pid });
  client.close();
});

test('those who wait for the end get the last status, and the socket is gone', async (t) => {
  const { path, server } = await serve(t);
  const client = await ControlClient.connect(path);
  const waiting = client.request({ op: 'wait_end' }, {});
  await client.request({ op: 'ping' });
  await server.end(sampleStatus({ dirty_bytes: 5 }));
  t.is(((await waiting) as { dirty_bytes: number }).dirty_bytes, 5);
  t.false(existsSync(path));
  await t.throwsAsync(client.request({ op: 'ping' }), { code: 'closed' });
});

test('a client that says nothing does not keep the server from ending', async (t) => {
  const { path, server } = await serve(t);
  const socket = connect({ path, allowHalfOpen: true });
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('connect', resolve));
  await server.end(new PcacheError('closed', 'over'));
  t.false(existsSync(path));
  socket.destroy();
});

test('a gateway that goes away ends the requests that wait', async (t) => {
  const { path, server } = await serve(t, { flush: () => new Promise(() => undefined) });
  const client = await ControlClient.connect(path);
  const flushed = client.request({ op: 'flush' }, {});
  await client.request({ op: 'ping' });
  await server.end(new PcacheError('closed', 'over'));
  await t.throwsAsync(flushed, { instanceOf: PcacheError, code: 'closed' });
});

test('an answer that does not come in time is an error', async (t) => {
  const { path } = await serve(t, { flush: () => new Promise(() => undefined) });
  const client = await ControlClient.connect(path);
  await t.throwsAsync(client.request({ op: 'flush' }, { timeoutMs: 20 }), { code: 'closed', message: /no answer within/ });
  client.close();
});

test('a socket left by a dead engine is replaced', async (t) => {
  const path = join(temporaryFolder(t), 'x.sock');
  writeFileSync(path, '');
  const server = await ControlServer.start(path, handler(), log);
  t.true(statSync(path).isSocket());
  await server.end(new PcacheError('closed', 'over'));
});

test('connecting waits for an engine that is being started again, and only as long as it is worth it', async (t) => {
  const path = join(temporaryFolder(t), 'x.sock');
  const connecting = ControlClient.connect(path, () => true, 20_000);
  await delay(100);
  const server = await ControlServer.start(path, handler(), log);
  t.teardown(() => server.end(new PcacheError('closed', 'over')));
  const client = await connecting;
  t.deepEqual(await client.request({ op: 'ping' }), { pid: process.pid });
  client.close();
  await t.throwsAsync(
    ControlClient.connect(`${path}x`, () => false),
    { code: 'closed', message: /no gateway answers/ },
  );
});
